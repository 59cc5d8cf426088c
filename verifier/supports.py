"""What ``verifier supports`` answers: features in the words of the VNNLIB standard, read off what the program has."""

from __future__ import annotations

from collections.abc import Callable

TRUE = ["true"]


def operators() -> list[str]:
    """Return the ONNX operators that are read; some only on constants."""
    from verifier.describe import READ
    from verifier.graph.lower import LOWER

    return sorted({*LOWER, *READ})


def opsets() -> list[str]:
    """Return the versions of ONNX's operator set."""
    from verifier.graph.onnx_import import OPSETS

    return [str(version) for version in OPSETS]


def element_types() -> list[str]:
    """Return the types that inputs may have; networks of all of them are read over the real numbers."""
    from verifier.graph.onnx_import import FLOATS

    return ["real", *FLOATS.values()]


ANSWERS: dict[str, tuple[str, Callable[[], list[str]]]] = {
    "onnx-opset-versions": ("versions of ONNX's operator set", opsets),
    "onnx-element-types": ("types of networks; all are read over the real numbers", element_types),
    "onnx-operators": ("operators, some on constants alone", operators),
    "vnnlib-versions": ("versions of VNNLIB", lambda: ["1.0", "2.0"]),
    "hidden-node-theories": ("with and without hidden tensors", lambda: ["NH", "H"]),
    "multiple-input-output-theories": ("single and multiple inputs and outputs", lambda: ["SIO", "MIO"]),
    "multiple-network-theories": (
        "one network, and several: equal, isomorphic, any",
        lambda: ["SNET", "MENET", "MINET", "MNET"],
    ),
    "multiple-node-comparison-theories": ("comparisons of one element, and of several", lambda: ["SNC", "MNC"]),
    "arithmetic-complexity-theories": (
        "bounds, linear conditions on outputs, on all, polynomials",
        lambda: ["BND", "OUTC", "LIN", "POLY"],
    ),
    "optimised-disjunctive-reasoning": ("whether alternatives are decided together", lambda: TRUE),
    "serialise-assignments": ("whether counterexamples are written as tensors", lambda: TRUE),
}
"""By option: its meaning, and what answers it, one item a line."""
