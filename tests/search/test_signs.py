"""Signs are proved where they hold, and only there; a count of them is then bounded as it must be."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import specs
from tests.bounds.nets import Net, boxes, dense, drawn, normal
from verifier import Config, verify
from verifier.graph.graph import INPUT, OUTPUT, Graph
from verifier.ops.arithmetic import Add
from verifier.ops.conv import Conv
from verifier.ops.curves import Relu, Step
from verifier.ops.reduce import ReduceSum
from verifier.ops.shape import Reshape, View
from verifier.result import Progress, Verdict
from verifier.search import signs
from verifier.search.root import Root
from verifier.search.signs import Sign, decide, known, open_signs, proved

SIDE = 9


@pytest.fixture(autouse=True)
def any_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of small networks are no small parts."""
    monkeypatch.setattr(signs, "SMALL", math.inf)


def counting(seed: int) -> Graph:
    """Two layers of convolutions, and how many places of the last one are not negative."""
    generator, net = drawn(seed), Net(SIDE * SIDE)
    net.add(View(0, (1, 1, SIDE, SIDE)))
    net.add(Conv(normal(generator, 4, 1, 3, 3, scale=0.5), normal(generator, 4), (1, 1), (1, 1), (1, 1)))
    net.add(Relu())
    net.add(Conv(normal(generator, 4, 4, 3, 3, scale=0.3), normal(generator, 4), (1, 1), (1, 1), (1, 1)))
    net.add(Relu())
    net.add(Conv(normal(generator, 1, 4, 1, 1), normal(generator, 1), (1, 1), (0, 0), (1, 1)))
    net.add(Reshape((1, SIDE, SIDE)))
    net.add(Step())
    net.add(Reshape((SIDE * SIDE,)))
    net.add(ReduceSum((0,), keep=True))
    return net.graph()


def rooted(seed: int, radius: float = 0.15) -> tuple[Root, dict[str, Tensor]]:
    """Bounds over a box, and values at many of its points."""
    graph = counting(seed)
    box = boxes(graph.n_inputs, (radius,), seed)
    rows = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    return Root.cheap(graph, box).reading(rows).crown(), graph.values(box.sample(4000, drawn(seed)).flatten(0, 1))


def value_of(values: dict[str, Tensor], sign: Sign) -> Tensor:
    return sign.sign * values[sign.name].flatten(1)[:, sign.element]


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_signs_are_proved_where_they_hold(seed: int) -> None:
    root, values = rooted(seed)
    outcomes = []
    for sign in open_signs(root):
        outcomes.append(proved(root, sign, math.inf, math.inf))
        if outcomes[-1]:
            assert (value_of(values, sign) > sign.clear).all()
    assert any(outcomes)


def test_no_sign_that_does_not_hold_is_proved() -> None:
    """The opposite of what holds somewhere is asked for."""
    root, values = rooted(0)
    for sign in list(open_signs(root))[:12]:
        opposite = Sign(sign.name, sign.element, -sign.sign, sign.clear)
        if (value_of(values, opposite) <= 0).any():
            assert not proved(root, opposite, math.inf, math.inf)


def test_easy_signs_come_first_and_only_open_ones() -> None:
    root, _ = rooted(0)
    found = list(open_signs(root))
    box = root.exact.boxes[found[0].name]
    low, high = box.lower.flatten(), box.upper.flatten()
    assert {sign.element for sign in found} == set(((low < 0) & (high > 0)).nonzero().flatten().tolist())
    shares = [float(torch.minimum(-low, high)[sign.element] / (high - low)[sign.element]) for sign in found]
    assert shares == sorted(shares)


@pytest.mark.parametrize("seed", range(4))
def test_known_signs_bound_the_count(seed: int) -> None:
    root, values = rooted(seed)
    better = decide(root, lambda bounds: bool(bounds.exact.boxes[OUTPUT].lower > SIDE**2), math.inf)
    assert better is root  # out of reach
    targets = iter(range(SIDE**2))
    better = decide(root, lambda bounds: next(targets) > 30, math.inf)
    for name, box in better.exact.boxes.items():
        slack = 1e-9 * (1 + values[name].abs())
        assert (values[name] >= box.lower - slack).all()
        assert (values[name] <= box.upper + slack).all()
        if name != INPUT:
            assert (box.lower >= root.exact.boxes[name].lower).all()
            assert (box.upper <= root.exact.boxes[name].upper).all()


def test_every_provable_sign_is_found_when_all_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least count is proved as high as all signs together allow."""
    monkeypatch.setattr(signs, "CHECKS", math.inf)
    root, values = rooted(2)
    kept = [sign for sign in open_signs(root) if proved(root, sign, math.inf, math.inf)]
    wanted = float(known(root, kept).exact.boxes[OUTPUT].lower) - 0.5
    assert float(root.exact.boxes[OUTPUT].lower) < wanted

    def enough(bounds: Root) -> bool:
        return bool(bounds.exact.boxes[OUTPUT].lower > wanted)

    better = decide(root, enough, math.inf)
    assert enough(better)
    assert float(better.exact.boxes[OUTPUT].lower) <= float(values[OUTPUT].amin())
    assert not enough(decide(root, enough, -math.inf))  # too late for any
    with pytest.raises(TimeoutError):
        decide(root, enough, math.inf, time.monotonic() - 1)


def test_out_of_reach_is_seen_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would need a sign that cannot be proved is left soon after it failed."""
    monkeypatch.setattr(signs, "CHECKS", math.inf)
    root, _ = rooted(3)
    total = len(list(open_signs(root)))
    tried = []

    def never(root: Root, sign: Sign, until: float, deadline: float) -> bool:
        tried.append(sign)
        return False

    monkeypatch.setattr(signs, "proved", never)
    wanted = float(known(root, list(open_signs(root))).exact.boxes[OUTPUT].lower) - 0.5
    decide(root, lambda bounds: bool(bounds.exact.boxes[OUTPUT].lower > wanted), math.inf)
    assert 1 <= len(tried) < total


def test_there_are_no_signs_without_windows() -> None:
    for graph in (dense(0, [4, 8, 2]), dense(0, [4, 8, 2], curve=Step())):
        root = Root.cheap(graph, boxes(4, (0.5,), 0)).crown()
        assert not list(open_signs(root))
        assert decide(root, lambda bounds: True, math.inf) is root


def test_elements_that_read_no_window_are_left_alone() -> None:
    """At its border, one of the branches that are added reads nothing but padding."""
    generator, net = drawn(0), Net(16)
    image = net.add(View(0, (1, 1, 4, 4)))
    one = net.add(Conv(normal(generator, 1, 1, 3, 3), None, (1, 1), (2, 2), (1, 1)))
    other = net.add(Conv(normal(generator, 1, 1, 1, 1), None, (1, 1), (1, 1), (1, 1)), image)
    both = net.add(Add(), one, other)
    net.add(Step())
    net.add(Reshape((36,)))
    net.add(ReduceSum((0,), keep=True))
    root = Root.cheap(net.graph(), boxes(16, (0.5,), 0)).crown()
    low = root.exact.boxes[both].lower.flatten()
    border, inside = (Sign(both, place, 1, float(low[place]) - 1) for place in (0, 14))
    assert not proved(root, border, math.inf, math.inf)
    assert proved(root, inside, math.inf, math.inf)


class Counting(nn.Module):
    """How many places of an image a network finds bright: about half of them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for channels in (1, 8, 8):
            layers += [nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(8, 1, 1))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(1.5 if parameter.dim() > 1 else 1)
            images = torch.rand(8, 1, 12, 12)
            self.register_buffer("middle", self.layers(images).median())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return (y > self.middle).to(x.dtype).sum((1, 2, 3)).unsqueeze(1)


def test_counts_are_verified() -> None:
    """From a module to the verdict: a count that signs prove, and one that does not hold at points that are known."""
    module, x = Counting().eval(), torch.rand(1, 1, 12, 12, generator=drawn(0))
    lower, upper = ((x + side).flatten().numpy().astype(np.float64) for side in (-0.01, 0.01))
    points = torch.from_numpy(np.random.default_rng(0).uniform(lower, upper, (4000, 144))).float()
    with torch.no_grad():
        least = float(module(points.view(-1, 1, 12, 12)).amin())
    progress = Progress()
    holds = specs.output_range(lower, upper, [least - 8], [math.inf])
    found = verify(module, holds, Config(timeout=60), progress, example_input=x)
    assert found.verdict is Verdict.UNSAT
    assert "signs" in progress.phases
    assert "search" not in progress.phases
    fails = specs.output_range(lower, upper, [least + 0.5], [math.inf])
    assert verify(module, fails, Config(timeout=5, attack=False), example_input=x).verdict is not Verdict.UNSAT
