"""What a VNNLIB 2.0 file asks: a property over the joint inputs and outputs of one network or several."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from specs.evaluate import holds
from specs.lexer import Source
from specs.linear import Variable
from specs.sets import Array, Float
from specs.spec import Spec

Relation = Literal["equal-to", "isomorphic-to"]


@dataclass(frozen=True, slots=True)
class Declaration:
    """A declared tensor.

    Attributes:
        name: in the file; unique there.
        role: what it is of its network.
        type: such as ``float32`` or ``real``.
        shape: empty for a scalar.
        start: where it begins in the vector of all inputs, or in that of all outputs and hidden tensors.
        tensor: the name of a hidden tensor in the ONNX file; empty for others, which are matched by their order.
    """

    name: str
    role: Literal["input", "hidden", "output"]
    type: str
    shape: tuple[int, ...]
    start: int
    tensor: str = ""

    @property
    def size(self) -> int:
        """How many elements."""
        return math.prod(self.shape)

    @property
    def part(self) -> slice:
        """Its place in the vector."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True, slots=True)
class Network:
    """A declared network: its tensors in their order, and the one it is equal or isomorphic to, if any."""

    name: str
    inputs: tuple[Declaration, ...]
    hidden: tuple[Declaration, ...]
    outputs: tuple[Declaration, ...]
    relation: tuple[Relation, str] | None = None

    @property
    def declarations(self) -> tuple[Declaration, ...]:
        """All tensors, in the order in which a counterexample lists them."""
        return (*self.inputs, *self.hidden, *self.outputs)


@dataclass(frozen=True, slots=True, eq=False)
class Query(Spec):
    """A property of networks that are read as one.

    Its inputs are those of all networks, one after the other; those that the file equates are one. Its outputs are,
    network by network, hidden tensors and then outputs, and behind them all ``products``.

    Attributes:
        networks: as declared.
        shared: for each element of the declared inputs, its index among the inputs, ``(N,)``.
        products: what is multiplied: numbers of inputs (X), and of hidden tensors and outputs (Y).
        source: the text.
        formulas: where those that read an output or a hidden tensor begin in it.
    """

    networks: tuple[Network, ...]
    shared: npt.NDArray[np.int64]
    products: tuple[tuple[Variable, ...], ...]
    source: Source
    formulas: tuple[int, ...]

    @property
    def plain(self) -> bool:
        """Whether this is a property of a network as its file has it."""
        alone = len(self.networks) == 1 and not self.networks[0].hidden and not self.products
        return alone and len(self.shared) == self.n_inputs

    def assignment(self, x: npt.ArrayLike, y: npt.ArrayLike) -> dict[str, Array]:
        """Give every declared tensor its values.

        Args:
            x: the inputs, ``(n,)``.
            y: the outputs, ``(m,)``, of which the products are left out.

        Returns:
            By name, in the order of declaration, each of its declared shape.
        """
        inputs = np.asarray(x, dtype=np.float64).reshape(-1)[self.shared]
        outputs = np.asarray(y, dtype=np.float64).reshape(-1)
        return {
            entry.name: (inputs if entry.role == "input" else outputs)[entry.part].reshape(entry.shape)
            for network in self.networks
            for entry in network.declarations
        }

    def asserted(self, x: npt.ArrayLike, y: npt.ArrayLike, dtype: Float) -> bool:
        """Tell whether all assertions about outputs and hidden tensors hold as they are written, computed in a type.

        Args:
            x: the inputs, ``(n,)``.
            y: the outputs, ``(m,)``, of which the products are left out.
            dtype: ``np.float32`` or ``np.float64``.
        """
        values = {name: value.astype(dtype) for name, value in self.assignment(x, y).items()}
        return all(holds(self.source, start, values) for start in self.formulas)
