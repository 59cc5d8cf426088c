"""The comparison of ways to branch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ablation import NETS, WAYS, Instance, Tally, compare, competition

import specs
from verifier import load

BOX = (np.array([-0.4, 0.1]), np.array([0.4, 0.9]))
Ranges = Callable[[float], Instance]


@pytest.fixture(scope="module")
def heights() -> Ranges:
    """The ground's height on a box: it is below 0.5 in either direction, and above 0.3 somewhere."""
    graph = load(NETS / "terrain_sin.onnx")
    return lambda limit: Instance("ground", graph, specs.output_range(*BOX, np.array([-limit]), np.array([limit])))


def tallies_of(*instances: Instance) -> dict[str, Tally]:
    tallies = {name: Tally() for name in WAYS}
    for instance in instances:
        compare(instance, 20.0, tallies)
    return tallies


def test_what_the_root_proves_all_prove(heights: Ranges) -> None:
    tallies = tallies_of(heights(10.0))
    assert {tally.verified for tally in tallies.values()} == {1}
    assert not any(tally.gains for tally in tallies.values())


def test_splits_prove_more_and_are_counted(heights: Ranges) -> None:
    alone, *others = tallies_of(heights(0.5)).values()
    assert alone.verified == 0
    assert not alone.gains
    for tally in others:
        assert tally.verified == 1
        gains = np.concatenate([gain.numpy() for gain in tally.gains])
        assert ((gains >= 0) & (gains <= 1)).all()
        assert gains.max() > 0


def test_what_is_false_is_not_proved(heights: Ranges) -> None:
    tallies = {name: Tally() for name in WAYS}
    compare(heights(0.3), 0.5, tallies)
    assert not any(tally.verified for tally in tallies.values())


def test_instances_of_a_folder(tmp_path: Path) -> None:
    folder = NETS.parent
    lines = [f"{folder}/nets/pendulum.onnx,{folder}/vnnlib/pendulum_limit_{limit}.vnnlib,10" for limit in ("1.05", "1")]
    (tmp_path / "instances.csv").write_text("onnx,vnnlib,timeout\n" + "\n".join(lines))
    assert [one.name for one in competition(tmp_path, 5)] == ["pendulum_limit_1.05.vnnlib", "pendulum_limit_1.vnnlib"]
    assert len(list(competition(tmp_path, 1))) == 1
