"""Instances of the competition with known counterexamples, where they are at hand."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import specs
from verifier.attack import Attack, Checker, Corners, Lp, Objective, Pgd
from verifier.bounds.schedule import CROWN, bound_nodes
from verifier.graph.onnx_import import load
from verifier.problem import Cases
from verifier.result import Counterexample

HOME = Path(os.environ.get("VERIFIER_BENCHMARKS", Path(__file__).parents[3] / "shared" / "benchmarks"))
pytestmark = pytest.mark.skipif(not HOME.is_dir(), reason="no benchmarks here")

SAT = (
    ("acasxu", "ACASXU_run2a_3_6_batch_2000", "prop_2", Corners()),
    ("acasxu", "ACASXU_run2a_2_7_batch_2000", "prop_2", Pgd()),
    ("cifar_biasfield", "cifar_bias_field_8", "prop_8", Pgd()),
    ("collins_rul_cnn", "NN_rul_full_window_20", "robustness_4perturbations_delta20_epsilon10_w20", Pgd()),
    ("cora", "mnist-set", "mnist-img10", Pgd()),
    ("mnist_fc", "mnist-net_256x2", "prop_2_0.05", Pgd()),
    ("mnist_fc", "mnist-net_256x2", "prop_4_0.05", Pgd()),
    ("mnist_fc", "mnist-net_256x6", "prop_6_0.03", Pgd()),
    ("metaroom", "4cnn_tz_70_11_no_custom_OP", "spec_idx_22_eps_0.00000436", Pgd()),
    ("rl_benchmarks", "cartpole", "cartpole_case_unsafe_36", Corners()),
    ("safenlp", "ruarobot/perturbations_0", "ruarobot/hyperrectangle_1304", Pgd()),
    (
        "sri_resnet_a",
        "resnet_3b2_bn_mixup_adv_4.0_bs128_lr-1",
        "cifar10_spec_idx_2219_eps_0.00350",
        Pgd(),
    ),
    ("tllverifybench", "tllBench_n=2_N=M=16_m=1_instance_1_1", "property_N=16_1", Corners()),
)


def problem(benchmark: str, net: str, prop: str) -> tuple[Objective, Checker]:
    path = HOME / benchmark / "onnx" / f"{net}.onnx.gz"
    spec, graph = specs.load(HOME / benchmark / "vnnlib" / f"{prop}.vnnlib.gz"), load(path)
    cases = Cases.of(spec, graph)
    return Objective(graph, cases), Checker(graph, cases, spec, path)


@pytest.mark.parametrize("benchmark, net, prop, attack", SAT)
def test_known_counterexamples_are_found(benchmark: str, net: str, prop: str, attack: Attack) -> None:
    exact, checker = problem(benchmark, net, prop)
    which, generator = torch.arange(len(exact.cases)), torch.Generator().manual_seed(0)
    found = attack.run(checker.screen, which, checker, time.monotonic() + 20, generator)
    assert isinstance(found, Counterexample)
    # In float32: some boxes have coordinates without any float32 number inside.
    assert checker.spec.violated_by(found.x, found.y, (np.float32,)) is not None


@pytest.mark.parametrize("prop", ["prop_1_0.05", "prop_12_0.05"])
def test_linear_programs_find_known_counterexamples(prop: str) -> None:
    exact, checker = problem("mnist_fc", "mnist-net_256x2", prop)
    boxes = bound_nodes(exact.graph, exact.cases.boxes, CROWN).boxes
    which = torch.arange(len(exact.cases))
    assert Lp().accepts(exact, boxes)
    assert isinstance(Lp().run(exact, boxes, which, checker, time.monotonic() + 20), Counterexample)
