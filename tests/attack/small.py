"""Small problems with known answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from specs import Case, InputSet, Rows, Spec
from verifier.attack import Checker, Objective
from verifier.graph.graph import Graph
from verifier.graph.onnx_import import load
from verifier.problem import Cases


def relu_model(weights: Sequence[Sequence[Sequence[float]]], dtype: int = TensorProto.FLOAT) -> ModelProto:
    """Build ``x -> W_k relu(... relu(W_1 x))``, without biases."""
    array = np.float32 if dtype == TensorProto.FLOAT else np.float64
    constants = [
        numpy_helper.from_array(np.array(weight, dtype=array).T.copy(), f"w{k}") for k, weight in enumerate(weights)
    ]
    nodes, last = [], "x"
    for k in range(len(weights)):
        nodes.append(helper.make_node("MatMul", [last, f"w{k}"], [f"z{k}"]))
        last = f"z{k}"
        if k + 1 < len(weights):
            nodes.append(helper.make_node("Relu", [last], [f"a{k}"]))
            last = f"a{k}"
    ports = [
        helper.make_tensor_value_info(name, dtype, [1, size])
        for name, size in (("x", len(weights[0][0])), (last, len(weights[-1])))
    ]
    graph = helper.make_graph(nodes, "small", ports[:1], ports[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def below(lower: Sequence[float], upper: Sequence[float], bound: float, strict: bool = False, outputs: int = 1) -> Spec:
    """Unsafe: the first output is at most (or below) a bound."""
    row = np.eye(outputs)[:1]
    rows = Rows(row, None, np.array([bound]), np.array([strict]))
    return Spec((Case(InputSet(lower, upper), rows),), len(lower), outputs)


class Setting:
    """A model with its specification in every form the attacks take."""

    def __init__(self, model: ModelProto, spec: Spec, replay: bool = True) -> None:
        self.graph: Graph = load(model)
        self.cases = Cases.of(spec, self.graph)
        self.exact = Objective(self.graph, self.cases)
        self.problem = Objective(self.graph.to(torch.float32), self.cases.to(torch.float32))
        self.checker = Checker(self.graph, self.cases, spec, model if replay else None, self.problem)
        self.which = torch.arange(len(self.cases))

    def check(self, *points: Sequence[float]) -> object:
        return self.checker(torch.zeros(len(points), dtype=torch.long), torch.tensor(points, dtype=torch.float64))
