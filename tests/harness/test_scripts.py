"""The competition's scripts, run as its harness runs them, with a stand-in for the verifier."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "vnncomp_scripts"

# Leaves its arguments in $LOG and the name of the answer's file in $answer.
PREAMBLE = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$LOG"
[ "$1" = --version ] && exit 0
while [ $# -gt 1 ]; do [ "$1" = --counterexample ] && answer=$2; shift; done
"""
WITNESS = "((X_0 0.5)\n(X_1 -0.25)\n(Y_0 1.125))"


class Harness:
    """A copy of the scripts, so that no environment lies beside them, and a folder that stands first on PATH."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scripts = root / "tool" / "vnncomp_scripts"
        shutil.copytree(SCRIPTS, self.scripts)
        self.results = root / "out.txt"
        self.log = root / "arguments"
        self.errors = root / "errors"
        self.pid_file = root / f"nn-verifier-instance-{os.getuid()}.pid"
        self.bin = root / "bin"
        self.bin.mkdir()
        for name in ("net.onnx", "spec.vnnlib"):
            (root / name).touch()

    def install(self, body: str) -> None:
        path = self.bin / "verifier"
        path.write_text(PREAMBLE + body)
        path.chmod(0o755)

    def start(self, script: str, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "TMPDIR": str(self.root), "LOG": str(self.log)}
        # Only the system's own folders: a verifier that this machine has installed must not answer.
        environment["PATH"] = os.pathsep.join([str(self.bin), "/usr/local/bin", "/usr/bin", "/bin"])
        command = [str(self.scripts / script), *arguments]
        with self.errors.open("w") as errors:  # no pipe: an orphan would hold it open
            return subprocess.Popen(command, cwd=self.root, env=environment, stderr=errors)

    def call(self, script: str, *arguments: str) -> tuple[int, str]:
        code = self.start(script, *arguments).wait(timeout=30)
        return code, self.errors.read_text()

    def instance(self, timeout: str = "20", onnx: str = "net.onnx", vnnlib: str = "spec.vnnlib") -> str:
        """The results file after one run, which must end with exit code 0."""
        code, errors = self.call("run_instance.sh", "v1", "acasxu", onnx, vnnlib, "out.txt", timeout)
        assert code == 0, errors
        assert {path.name for path in self.root.glob("out.txt*")} == {"out.txt"}  # no temporary file stays
        return self.results.read_text()

    @property
    def arguments(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    if shutil.which("verifier", path="/usr/local/bin:/usr/bin:/bin"):
        pytest.skip("a verifier is installed for the whole system")
    return Harness(tmp_path)


@pytest.mark.parametrize("word", ["unsat", "unknown", "timeout"])
def test_a_verdict_is_passed_on(harness: Harness, word: str) -> None:
    harness.install(f'echo {word} > "$answer"')
    assert harness.instance() == f"{word}\n"


def test_a_counterexample_is_passed_on_whole(harness: Harness) -> None:
    harness.install(f'printf "sat\\n{WITNESS}\\n" > "$answer"; echo sat')
    assert harness.instance() == f"sat\n{WITNESS}\n"


def test_the_verifier_gets_the_instance_and_a_little_less_time(harness: Harness) -> None:
    harness.install('echo unsat > "$answer"')
    harness.instance(timeout="20.5")
    assert harness.arguments[:3] == ["verify", "net.onnx", "spec.vnnlib"]
    assert harness.arguments[3:6] == ["--timeout", "17.500", "--counterexample"]


def test_a_short_limit_keeps_three_quarters(harness: Harness) -> None:
    harness.install('echo unsat > "$answer"')
    harness.instance(timeout="4")
    assert harness.arguments[4] == "3.000"


def test_compressed_files_are_found(harness: Harness) -> None:
    harness.install('echo unsat > "$answer"')
    (harness.root / "net.onnx").rename(harness.root / "net.onnx.gz")
    (harness.root / "spec.vnnlib").rename(harness.root / "spec.vnnlib.gz")
    assert harness.instance() == "unsat\n"
    assert harness.arguments[1:3] == ["net.onnx.gz", "spec.vnnlib.gz"]


def test_several_networks_become_options(harness: Harness) -> None:
    harness.install('echo unsat > "$answer"')
    (harness.root / "g.onnx.gz").touch()
    harness.instance(onnx="[('f', 'net.onnx'), ('g', 'g.onnx')]")
    assert harness.arguments[1:6] == ["spec.vnnlib", "--network", "f=net.onnx", "--network", "g=g.onnx.gz"]


@pytest.mark.parametrize(
    "body",
    [
        "exit 1",
        'echo unsat > "$answer"; exit 1',  # a crash after a verdict: do not trust it
        'echo sat > "$answer"',  # no witness
        'echo holds > "$answer"',  # not one of the words
        "true",  # nothing written
    ],
)
def test_what_is_no_valid_answer_is_unknown(harness: Harness, body: str) -> None:
    harness.install(body)
    assert harness.instance() == "unknown\n"


def test_no_verifier_is_unknown(harness: Harness) -> None:
    assert harness.instance() == "unknown\n"


@pytest.mark.parametrize("names", [{"onnx": "missing.onnx"}, {"vnnlib": "missing.vnnlib"}, {"onnx": "[('f', 3"}])
def test_no_instance_is_unknown(harness: Harness, names: dict[str, str]) -> None:
    harness.install('echo unsat > "$answer"')
    assert harness.instance(**names) == "unknown\n"


def test_a_limit_that_is_no_number_is_unknown(harness: Harness) -> None:
    harness.install('echo unsat > "$answer"')
    assert harness.instance(timeout="soon") == "unknown\n"


def test_a_hanging_verifier_is_a_timeout(harness: Harness) -> None:
    harness.install("trap '' TERM; while true; do sleep 0.1; done")
    start = time.monotonic()
    assert harness.instance(timeout="0.5") == "timeout\n"
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_being_killed_leaves_timeout_and_no_process(harness: Harness, end: signal.Signals) -> None:
    harness.install(f"echo $$ > {harness.root}/running; while true; do sleep 0.1; done")
    process = harness.start("run_instance.sh", "v1", "acasxu", "net.onnx", "spec.vnnlib", "out.txt", "60")
    wait_until(lambda: bool(read_if_there(harness.root / "running")))
    wait_until(lambda: bool(read_if_there(harness.pid_file)))  # else there is nothing on record yet
    process.send_signal(end)
    process.wait(timeout=30)
    if end is signal.SIGKILL:  # the script could not clean up: the next instance's preparation does
        harness.call("prepare_instance.sh", "v1", "acasxu", "net.onnx", "spec.vnnlib")
    assert harness.results.read_text() == "timeout\n"
    running = Path("/proc") / read_if_there(harness.root / "running").strip()
    wait_until(lambda: not running.exists() or "State:\tZ" in read_if_there(running / "status"))


def test_preparation_accepts_a_good_instance(harness: Harness) -> None:
    harness.install("")
    code, errors = harness.call("prepare_instance.sh", "v1", "acasxu", "net.onnx", "spec.vnnlib")
    assert (code, errors) == (0, "")
    assert harness.arguments == ["--version"]


def test_preparation_ends_no_process_of_others(harness: Harness) -> None:
    harness.install("")
    with subprocess.Popen(["/bin/sleep", "60"], start_new_session=True) as other:
        harness.pid_file.write_text(f"{other.pid}\n")
        harness.call("prepare_instance.sh", "v1", "acasxu", "net.onnx", "spec.vnnlib")
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize(
    "arguments",
    [
        ("v2", "acasxu", "net.onnx", "spec.vnnlib"),
        ("v1", "acasxu", "missing.onnx", "spec.vnnlib"),
        ("v1", "acasxu", "net.onnx", "missing.vnnlib"),
        ("v1", "acasxu", "net.onnx"),
    ],
)
def test_preparation_refuses_what_cannot_be_run(harness: Harness, arguments: tuple[str, ...]) -> None:
    harness.install("")
    code, errors = harness.call("prepare_instance.sh", *arguments)
    assert code != 0
    assert errors


def read_if_there(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def wait_until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
