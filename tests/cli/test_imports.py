"""Start-up is part of every answer: what is not needed is not imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

HEAVY = ("torch", "numpy", "onnx")
SELDOM = ("highspy", "cvxpy", "rich", "onnxruntime", "scipy")


def loaded(code: str, folder: Path, names: tuple[str, ...]) -> set[str]:
    """The modules of ``names`` that a process has loaded at the end of ``code``."""
    code += f"\nimport sys; sys.stderr.write(','.join(name for name in {names} if name in sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return set(filter(None, done.stderr.rpartition("\n")[2].split(",")))


@pytest.mark.parametrize("option", ["--version", "--name", "--help"])
def test_short_answers_import_nothing(option: str, folder: Path) -> None:
    assert not loaded(f"from verifier.cli import main; assert main([{option!r}]) == 0", folder, HEAVY + SELDOM)


@pytest.mark.parametrize("code", ["import verifier", "from verifier import Config", "import verifier.cli"])
def test_the_package_imports_nothing(code: str, folder: Path) -> None:
    assert not loaded(code, folder, HEAVY + SELDOM)


def test_bad_input_is_found_without_torch(folder: Path) -> None:
    (folder / "spec.vnnlib").write_text("(assert")
    code = "from verifier.cli import main; assert main(['verify', 'net.onnx', 'spec.vnnlib']) == 2"
    assert not loaded(code, folder, ("torch", "onnx", *SELDOM))


@pytest.mark.parametrize("verb", ["verify", "bounds"])
def test_an_easy_proof_imports_no_more_than_it_needs(verb: str, folder: Path) -> None:
    code = f"from verifier.cli import main; assert main([{verb!r}, 'net.onnx', 'spec.vnnlib']) == 0"
    assert not loaded(code, folder, SELDOM)


def test_public_names_are_what_they_say() -> None:
    import verifier

    assert set(verifier.__all__) <= set(dir(verifier))
    for name in verifier.__all__:
        assert getattr(verifier, name).__doc__
    with pytest.raises(AttributeError, match="nothing"):
        _ = verifier.nothing
