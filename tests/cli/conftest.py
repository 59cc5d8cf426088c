"""Runs of the command in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.cli.support import SPEC, Answer, Command, Install, network
from verifier.cli import main
from verifier.result import Result


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts another function in the place of ``verifier.pipeline.verify``."""

    def put(function: Callable[..., Result]) -> None:
        module = ModuleType("verifier.pipeline")
        module.__dict__["verify"] = function
        monkeypatch.setitem(sys.modules, "verifier.pipeline", module)

    return put


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with net.onnx and spec.vnnlib."""
    (tmp_path / "net.onnx").write_bytes(network().SerializeToString())
    (tmp_path / "spec.vnnlib").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs ``verifier`` with the given arguments."""

    def call(*arguments: str) -> Answer:
        code = main(list(arguments))
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return call
