"""The competition's script with the real command."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from run import read_examples

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "vnnlib_examples"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("verifier.pipeline") is None, reason="verifier.pipeline is missing"
)


FEW = {"query_isomorphic", "query_product_of_outputs"}
QUERIES = [
    pytest.param(line, id=Path(line[1]).stem, marks=() if Path(line[1]).stem in FEW else pytest.mark.slow)
    for line in read_examples()
    if "/query_" in line[1]
]


def run_instance(folder: Path, model: str, spec: str, timeout: str = "30") -> str:
    """The results file of an instance, prepared and run as the harness does."""
    tool = folder / "tool" / "vnncomp_scripts"
    shutil.copytree(ROOT / "vnncomp_scripts", tool)
    command = folder / "bin" / "verifier"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m verifier.cli "$@"\n')
    command.chmod(0o755)
    environment = {**os.environ, "TMPDIR": str(folder), "PATH": f"{command.parent}:/usr/local/bin:/usr/bin:/bin"}
    ready = [str(tool / "prepare_instance.sh"), "v1", "test", model, spec]
    prepared = subprocess.run(ready, cwd=folder, env=environment, capture_output=True, check=False, timeout=60)
    assert prepared.returncode == 0, prepared.stderr
    done = subprocess.run(
        [str(tool / "run_instance.sh"), "v1", "test", model, spec, "out.txt", timeout],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.glob("*out.txt*")] == ["out.txt"], done.stderr
    return (folder / "out.txt").read_text()


def test_unsat(tmp_path: Path) -> None:
    spec = EXAMPLES / "vnnlib" / "pendulum_limit_1.05.vnnlib"
    assert run_instance(tmp_path, str(EXAMPLES / "nets" / "pendulum.onnx"), str(spec)) == "unsat\n"


def test_sat_with_a_witness(tmp_path: Path) -> None:
    spec = EXAMPLES / "vnnlib" / "digits_fc_image_3_eps_0.12.vnnlib"
    lines = run_instance(tmp_path, str(EXAMPLES / "nets" / "digits_fc.onnx"), str(spec)).splitlines()
    assert lines[0] == "sat"
    assert lines[1].startswith("((X_0 ")
    assert lines[-1].startswith("(Y_9 ")
    assert lines[-1].endswith("))")
    assert len(lines) == 1 + 64 + 10


def test_a_model_that_is_not_supported_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no network")
    spec = EXAMPLES / "vnnlib" / "pendulum_limit_1.05.vnnlib"
    assert run_instance(tmp_path, "net.onnx", str(spec)) == "unknown\n"


@pytest.mark.parametrize("line", QUERIES)
def test_queries_are_answered_as_they_are_scored(tmp_path: Path, line: tuple[str, str, str]) -> None:
    scoring = pytest.importorskip("tests.specs.scoring")
    onnx, vnnlib, expected = line
    for name in ("nets", "vnnlib"):
        shutil.copytree(EXAMPLES / name, tmp_path / name)
    answer = run_instance(tmp_path, onnx, vnnlib)
    assert answer.partition("\n")[0] == expected
    if expected == "sat":
        paths = dict(ast.literal_eval(onnx)) if onnx.startswith("[") else {"f": onnx}
        models = {name: EXAMPLES / path for name, path in paths.items()}
        assert scoring.correct((EXAMPLES / vnnlib).read_text(), models, answer)
