"""A model and a property, read and made ready for a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch

import specs
from specs import Query, Spec
from verifier.attack import Checker, Objective
from verifier.attack.witness import coarsest
from verifier.check.networks import Networks
from verifier.errors import UsageError
from verifier.graph.graph import Graph
from verifier.graph.join import Source, check_sizes, join, separate
from verifier.graph.onnx_import import load
from verifier.problem import Cases
from verifier.twins import Twins


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """One problem.

    Attributes:
        graph: the network, or all that the property speaks of as one.
        spec: the property.
        cases: its conditions as tensors, in float64.
        fast: what attacks climb, in the network's own precision.
        checker: of candidates, on the model as it was given.
        twins: what is known of a network that the property declares twice.
    """

    graph: Graph
    spec: Spec
    cases: Cases
    fast: Objective
    checker: Checker
    twins: Twins | None

    @staticmethod
    def read(model: Source | Mapping[str, Source], spec: Spec | str | Path, device: torch.device) -> Ready:
        """Read both.

        Raises:
            VerifierError, SpecError: the model or the property cannot be read, or they do not fit together.
        """
        property_ = specs.load(spec) if isinstance(spec, (str, Path)) else spec
        twins = twins_of(model, property_)
        whole = model_of(model, property_)
        graph = load(whole, device=device)
        if isinstance(property_, Query):
            check_sizes(property_, graph)
        cases = Cases.of(property_, graph)
        graph = graph.ranking() if cases.ranks else graph
        dtype = torch.float64 if coarsest(graph) == torch.float64 else torch.float32
        fast = Objective(graph.to(dtype), cases.to(dtype))
        replay = None
        if isinstance(property_, Query) and isinstance(whole, onnx.ModelProto):  # made of what was given
            replay = Networks(property_, separate(property_, model))
        return Ready(graph, property_, cases, fast, Checker(graph, cases, property_, whole, fast, replay), twins)


def model_of(model: Source | Mapping[str, Source], spec: Spec) -> Source:
    """Return the one model that a property speaks of, see ``graph.join``."""
    if isinstance(spec, Query):
        return join(spec, model)
    if isinstance(model, Mapping):
        if len(model) != 1:
            raise UsageError("a VNNLIB 1.0 property speaks of one network; several need VNNLIB 2.0")
        (model,) = model.values()
    return model


def twins_of(model: Source | Mapping[str, Source], spec: Spec) -> Twins | None:
    """Return what is known of a network that a property declares twice."""
    if not isinstance(spec, Query):
        return None
    return Twins.of(spec, lambda: load(model[spec.networks[0].name] if isinstance(model, Mapping) else model))
