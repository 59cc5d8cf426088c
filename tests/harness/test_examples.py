"""The examples' files, and the referee that settles those with smooth nonlinearities."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import subdivide
import torch
from certified import NETWORKS as CERTIFIED
from derived import DERIVED
from intervals import FUNCTIONS, Interval, Value
from make import networks_of
from networks import RECIPES
from properties import Box
from run import read_examples
from scipy.special import erf, expit
from smooth import CONDUCTANCE, LINES, SMOOTH, SUSCEPTANCE, PowerFlow, curved, tanh
from subdivide import Network, UndecidedError, exclude

EXAMPLES = Path(__file__).resolve().parents[2] / "vnnlib_examples"
PLAIN = {
    "Sigmoid": expit, "Tanh": np.tanh, "Erf": erf, "Exp": np.exp, "Sin": np.sin, "Cos": np.cos,
    "Reciprocal": lambda x: 1 / x, "Relu": lambda x: np.maximum(x, 0),
}  # fmt: skip


def test_what_is_listed_is_there_and_nothing_else() -> None:
    listed = read_examples()
    nets = {path for line in listed for path in networks_of(line[0]).values()}
    certified = {f"nets/digits_{name}.onnx" for name in CERTIFIED} | {"nets/digits_test.npz"}
    for folder, files in (("nets", nets | certified), ("vnnlib", {line[1] for line in listed})):
        assert files == {f"{folder}/{path.name}" for path in (EXAMPLES / folder).iterdir()}
    assert {Path(path).stem for path in nets} == {*RECIPES, *SMOOTH, *DERIVED}
    assert {line[2] for line in listed} == {"sat", "unsat"}


@pytest.mark.parametrize("network", SMOOTH)
def test_both_verdicts(network: str) -> None:
    assert {line[2] for line in read_examples() if line[0] == f"nets/{network}.onnx"} == {"sat", "unsat"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_derivatives(name: str) -> None:
    draw = np.random.default_rng(0)
    lower = draw.uniform(-6, 6, 300) if name != "Reciprocal" else draw.uniform(0.1, 6, 300)
    upper = lower + 10 ** draw.uniform(-8, 1, 300)
    values, slopes = (function(Interval(lower, upper)) for function in FUNCTIONS[name])
    x = lower + (upper - lower) * np.linspace(0, 1, 41)[:, None]
    y = PLAIN[name](x)
    assert ((values.lower <= y) & (y <= values.upper)).all()
    step = 1e-5
    slope = (PLAIN[name](x + step) - PLAIN[name](x - step)) / (2 * step)
    room = 1e-5 * (1 + np.abs(slope))
    assert ((slopes.lower <= slope + room) & (slope - room <= slopes.upper)).all()
    narrow = upper - lower < 1e-6
    assert (values.upper - values.lower)[narrow].max() < 1e-3
    assert (slopes.upper - slopes.lower)[narrow].max() < 1e-1


def boxes_of(network: str, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes of all sizes, in which at most three inputs vary."""
    draw, size = np.random.default_rng(0), int(np.prod(SMOOTH[network].shape))
    varying = np.sort(draw.permutation(size)[:3])
    centre, radius = draw.uniform(0, 1, (count, size)), np.zeros((count, size))
    radius[:, varying] = 10 ** draw.uniform(-4, -0.5, (count, 1))
    return centre - radius, centre + radius, varying


@pytest.mark.parametrize("network", SMOOTH)
def test_bounds_hold_what_onnxruntime_computes(network: str) -> None:
    path = EXAMPLES / "nets" / f"{network}.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    lower, upper, varying = boxes_of(network, 20)
    found = Network(path).on(lower, upper, varying)
    draw = np.random.default_rng(1)
    for k in range(20):
        for _ in range(10):
            share = np.where(draw.random() < 0.5, draw.random(lower.shape[1]), draw.integers(0, 2, lower.shape[1]))
            x = (lower[k] + share * (upper[k] - lower[k])).astype(np.float32)
            (y,) = session.run(None, {"X": x.reshape(1, *SMOOTH[network].shape)})
            room = 2e-5 * max(1.0, float(np.abs(y).max()))
            assert (found.range.lower[k] - room <= y).all()
            assert (y <= found.range.upper[k] + room).all()


@pytest.mark.parametrize("network", SMOOTH)
def test_slopes_hold_difference_quotients(network: str) -> None:
    """In float64, from single points: their ranges are the network's values."""
    bounded = Network(EXAMPLES / "nets" / f"{network}.onnx")
    lower, upper, varying = boxes_of(network, 10)
    found, middle, step = bounded.on(lower, upper, varying), (lower + upper) / 2, 1e-5
    for k, which in enumerate(varying):
        ends = [middle.copy(), middle.copy()]
        ends[0][:, which] -= step
        ends[1][:, which] += step
        low, high = (bounded.on(end, end, varying).range for end in ends)
        assert (high.upper - high.lower).max() < 1e-9
        quotient = (high.lower - low.lower) / (2 * step)
        room = 1e-4 * max(1.0, float(np.abs(quotient).max()))
        assert (found.slope.lower[:, k] - room <= quotient).all()
        assert (quotient <= found.slope.upper[:, k] + room).all()


def test_only_the_truth_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least value of an output is between what is proved and what is not."""
    monkeypatch.setattr(subdivide, "MOST", 5000)
    network, box = Network(EXAMPLES / "nets" / "pendulum_tanh.onnx"), Box.of((-1, 1), (-1, 1))
    x = np.stack(np.meshgrid(*[np.linspace(-1, 1, 101)] * 2), axis=-1).reshape(-1, 2)
    least = float(network.on(x, x, np.array([0, 1])).range.lower.min())
    row = np.array([1.0])
    assert exclude(network, box, [(row, least - 0.01)]) > 1
    assert exclude(network, box, [(row, least - 0.01), (row, least + 0.01)]) > 1
    with pytest.raises(UndecidedError):
        exclude(network, box, [(row, least + 1e-6)])


def test_mean_values_converge_faster_than_intervals() -> None:
    lower, upper = np.full((1, 1, 1), 0.3), np.full((1, 1, 1), 0.3 + 1e-4)
    x = Value.inputs(lower[0], upper[0], np.array([0]), (1, 1))
    same = (x * x - x * x).range
    assert float((same.upper - same.lower).max()) < 1e-3
    square = (x * x - x).apply("Sin").range
    exact = np.abs(np.sin(0.3**2 - 0.3) - np.sin(0.3001**2 - 0.3001))
    assert float((square.upper - square.lower).max()) < 1.01 * exact


def test_the_power_flow_is_that_of_the_grid() -> None:
    """By complex numbers: each line's admittance times its voltage is its current."""
    model = PowerFlow(curved(tanh, 4, 3, 4))
    loads = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        state, missed = model.predictor(loads).double().numpy(), model(loads).numpy()
    voltage = np.ones((5, 3), dtype=complex)
    voltage[:, 1:] = state[:, 2:] * np.exp(1j * state[:, :2])
    current = np.zeros((5, 3), dtype=complex)
    for (one, other), g, b in zip(LINES, CONDUCTANCE, SUSCEPTANCE, strict=True):
        flow = (g + 1j * b) * (voltage[:, one] - voltage[:, other])
        current[:, one] += flow
        current[:, other] -= flow
    power = (voltage * current.conj())[:, 1:]
    np.testing.assert_allclose(missed, np.hstack([power.real, power.imag]) + loads.numpy(), atol=1e-4)
