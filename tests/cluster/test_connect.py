"""What is said where there is no cluster, or not the one that is needed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.cluster.support import hard
from verifier import Config, verify
from verifier.cli import main
from verifier.cluster.connect import ClusterError, Machines


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "ray" else found(name, *rest))


@pytest.mark.parametrize("words", [("verify",), ("suite",)])
@pytest.mark.usefixtures("no_ray")
def test_ray_is_not_installed(tmp_path: Path, words: tuple[str], capsys: pytest.CaptureFixture[str]) -> None:
    model, text = hard(tmp_path, 4, 16, 0.3)
    (tmp_path / "instances.csv").write_text(f"{model.name},{text.name},20\n")
    files = [model, text] if words == ("verify",) else [tmp_path, "--out", tmp_path / "out"]
    assert main([*words, *map(str, files), "--cluster", "local"]) == 2
    said = capsys.readouterr()
    assert said.err == "error: --cluster needs Ray, which is not installed: pip install 'nn-verifier[cluster]'\n"
    assert said.out == ""


@pytest.mark.usefixtures("no_ray")
def test_ray_is_not_installed_for_the_library(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="is not installed"):
        verify(*hard(tmp_path, 10, 16, 0.6), Config(cluster="local"))


@pytest.mark.parametrize("extra", [("--device", "cuda"), ("--max-iterations", "3")])
def test_options_that_do_not_go_together(extra: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray")
    assert main(["verify", "a.onnx", "b.vnnlib", "--cluster", "local", *extra]) == 2
    assert extra[0] in capsys.readouterr().err


def test_only_machines_that_live_and_have_cores_count() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 4.0, "memory": 8e9}},
        {"Alive": False, "Resources": {"CPU": 4.0, "memory": 8e9}},
        {"Alive": True, "Resources": {"memory": 8e9}},
    ]
    assert Machines.of(nodes) == Machines((4,), (8e9,))
