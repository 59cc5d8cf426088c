"""Instances with known counterexamples: the proof side alone never claims that there are none."""

from __future__ import annotations

import pytest

from tests.truth.known import HOME, Instance, known_sat, needs_benchmarks
from verifier import Config, verify
from verifier.result import Verdict

pytestmark = needs_benchmarks

SMALL = {"acasxu", "safenlp", "rl_benchmarks", "collins_rul_cnn", "mnist_fc"}
LATE = 5.0  # seconds
FEW: list[Instance] = [
    ("acasxu", "onnx/ACASXU_run2a_1_3_batch_2000.onnx.gz", "vnnlib/prop_2.vnnlib.gz"),
    ("safenlp", "onnx/ruarobot/perturbations_0.onnx.gz", "vnnlib/ruarobot/hyperrectangle_1304.vnnlib.gz"),
    ("rl_benchmarks", "onnx/cartpole.onnx.gz", "vnnlib/cartpole_case_unsafe_36.vnnlib.gz"),
    ("rl_benchmarks", "onnx/lunarlander.onnx.gz", "vnnlib/lunarlander_case_safe_1.vnnlib.gz"),
    (
        "collins_rul_cnn",
        "onnx/NN_rul_small_window_20.onnx.gz",
        "vnnlib/robustness_2perturbations_delta10_epsilon10_w20.vnnlib.gz",
    ),
    ("mnist_fc", "onnx/mnist-net_256x2.onnx.gz", "vnnlib/prop_1_0.05.vnnlib.gz"),
]
LOGNORMAL: Instance = (
    "nn4sys_2021",
    "onnx/lognormal_100.onnx.gz",
    "vnnlib/lognormal_100_101.vnnlib.gz",
)


def verdict(instance: Instance, config: Config) -> Verdict:
    benchmark, net, prop = instance
    return verify(HOME / benchmark / net, HOME / benchmark / prop, config).verdict


def name(instance: Instance) -> str:
    return "-".join(part.rpartition("/")[2].partition(".")[0] for part in instance)


@pytest.mark.parametrize("instance", FEW, ids=name)
def test_a_few_are_never_called_unsat(instance: Instance) -> None:
    assert instance in known_sat(SMALL)
    assert verdict(instance, Config(timeout=LATE, attack=False, threads=1)) is not Verdict.UNSAT


@pytest.mark.slow
@pytest.mark.parametrize("instance", known_sat(SMALL), ids=name)
def test_none_is_called_unsat(instance: Instance) -> None:
    assert verdict(instance, Config(timeout=LATE, attack=False, threads=1)) is not Verdict.UNSAT


@pytest.mark.slow
def test_many_conditions_with_a_counterexample() -> None:
    assert verdict(LOGNORMAL, Config(timeout=60.0, threads=1)) is Verdict.SAT
    assert verdict(LOGNORMAL, Config(timeout=60.0, attack=False, threads=1)) is not Verdict.UNSAT
