"""``--cluster`` on real clusters: verdicts, workers that are killed, and nothing left behind."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.support import ROOT, environment, hard, marked, start, wait_until
from verifier.suite.journal import Journal

pytest.importorskip("ray")

EXAMPLES = ROOT / "vnnlib_examples"
PATIENCE = 120.0


@dataclass(frozen=True)
class Nodes:
    address: str
    mark: str

    def workers(self, name: str) -> list[int]:
        """The processes of busy or idle workers."""
        return marked(self.mark, f"ray::{name}")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    mark = uuid.uuid4().hex
    words = [sys.executable, str(Path(__file__).with_name("two_nodes.py"))]
    with subprocess.Popen(
        words,
        env=environment(mark),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as cluster:
        assert cluster.stdout is not None
        yield Nodes(cluster.stdout.readline().strip(), mark)
        cluster.communicate(timeout=60)
    wait_until(lambda: not marked(mark), 60)


def suite_of(folder: Path, count: int) -> Path:
    """A table of shipped examples, with the known verdicts."""
    with (EXAMPLES / "expected.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))[:count]
    with (folder / "some.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["vnnlib", "onnx", "timeout", "expected"])
        writer.writerows([EXAMPLES / one["vnnlib"], EXAMPLES / one["onnx"], 60, one["expected"]] for one in lines)
    return folder / "some.csv"


def test_a_suite_has_the_known_verdicts(tmp_path: Path, nodes: Nodes) -> None:
    run = start("suite", suite_of(tmp_path, 4), "--out", tmp_path / "out", "--cluster", nodes.address, mark=nodes.mark)
    out, err = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, err
    entries = Journal(tmp_path / "out" / "journal.jsonl").entries.values()
    assert len(entries) == 4
    assert all(entry.solved and entry.expected == entry.result for entry in entries), out
    assert len(list((tmp_path / "out").glob("witnesses/*/*"))) == sum(entry.result == "sat" for entry in entries)
    wait_until(lambda: not nodes.workers("Slot"), 20)


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "result"), [(1, "unsat"), (2, "error")])
def test_an_instance_outlives_one_worker(tmp_path: Path, nodes: Nodes, kills: int, result: str) -> None:
    (tmp_path / "net.onnx").touch()
    (tmp_path / "0.vnnlib").write_text("unsat 4")
    (tmp_path / "instances.csv").write_text("net.onnx,0.vnnlib,60\n")
    words = [sys.executable, str(Path(__file__).with_name("stand_in_suite.py")), tmp_path, nodes.address]
    run = subprocess.Popen(list(map(str, words)), env=environment(nodes.mark), stdout=subprocess.PIPE, text=True)
    killed: set[int] = set()
    for _ in range(kills):
        wait_until(lambda: set(nodes.workers("Slot.run")) - killed, PATIENCE)
        (busy,) = set(nodes.workers("Slot.run")) - killed
        os.kill(busy, signal.SIGKILL)
        killed.add(busy)
    out, _ = run.communicate(timeout=PATIENCE)
    assert out == f"{result}\n"
    assert not list(tmp_path.glob("running/*"))


@pytest.mark.slow
@pytest.mark.parametrize(("inputs", "width", "most"), [(8, 80, 1.0), (30, 40, 2.75)])
def test_a_search_outlives_a_worker(tmp_path: Path, nodes: Nodes, inputs: int, width: int, most: float) -> None:
    model, text = hard(tmp_path, inputs, width, most)
    run = start("verify", model, text, "--timeout", 200, "--cluster", nodes.address, mark=nodes.mark)
    wait_until(lambda: nodes.workers("Searcher.run"), PATIENCE)
    os.kill(nodes.workers("Searcher.run")[0], signal.SIGKILL)
    out, err = run.communicate(timeout=240)
    assert out == "unsat\n", err
    wait_until(lambda: not nodes.workers("Searcher"), 20)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["verdict", "interrupt", "kill"])
def test_a_local_cluster_leaves_nothing_behind(tmp_path: Path, end: str) -> None:
    mark = uuid.uuid4().hex
    model, text = hard(tmp_path, 30, 40, 2.7)
    limit = 25 if end == "verdict" else 200
    run = start("verify", model, text, "--timeout", limit, "--cluster", "local", mark=mark)
    wait_until(lambda: marked(mark, "ray::Searcher"), PATIENCE)
    if end != "verdict":
        run.send_signal(signal.SIGINT if end == "interrupt" else signal.SIGKILL)
    out, err = run.communicate(timeout=PATIENCE)
    if end == "interrupt":
        assert (run.returncode, out) == (130, "unknown\n"), err
    if end == "verdict":
        assert out in ("unsat\n", "timeout\n"), err
    wait_until(lambda: not marked(mark), 150)  # of a cluster whose user is killed, the last process goes after a minute


@pytest.mark.parametrize("address", [pytest.param("127.0.0.1:9", marks=pytest.mark.slow), "nowhere"])
def test_an_address_without_a_cluster_is_one_line(tmp_path: Path, address: str) -> None:
    out = tmp_path / "out"
    run = start("suite", suite_of(tmp_path, 1), "--out", out, "--cluster", address, mark="none")
    _, err = run.communicate(timeout=60)
    assert run.returncode == 2
    assert err.startswith(f"error: --cluster {address}: there is no Ray cluster that can be used: ")
    assert err.count("\n") == 1
