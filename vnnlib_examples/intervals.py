"""Interval arithmetic with outward rounding, and functions with their derivatives over boxes of inputs.

Shares no code with the verifier. Arrays hold many boxes at once, along their first axis.
Source: Moore, Kearfott, Cloud, "Introduction to Interval Analysis", SIAM 2009 (chapter 6: mean value forms).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import erf, expit

ULPS = 8  # by which numpy's and scipy's functions are taken to err, at most; sums have bounds of their own
EPS = float(np.finfo(np.float64).eps)
TINY = 1e-290


@dataclass(frozen=True, slots=True)
class Interval:
    """Real numbers between ``lower`` and ``upper``; every result holds all results for members."""

    lower: np.ndarray
    upper: np.ndarray

    @classmethod
    def exactly(cls, value: np.ndarray) -> "Interval":
        """A number."""
        return cls(value, value)

    def __add__(self, other: "Interval") -> "Interval":
        return _outward(self.lower + other.lower, self.upper + other.upper)

    def __neg__(self) -> "Interval":
        return Interval(-self.upper, -self.lower)

    def __sub__(self, other: "Interval") -> "Interval":
        return self + -other

    def __mul__(self, other: "Interval") -> "Interval":
        ends = [a * b for a in (self.lower, self.upper) for b in (other.lower, other.upper)]
        return _outward(np.minimum.reduce(ends), np.maximum.reduce(ends))

    def __and__(self, other: "Interval") -> "Interval":
        return Interval(np.maximum(self.lower, other.lower), np.minimum(self.upper, other.upper))

    @property
    def size(self) -> np.ndarray:
        """The largest absolute value."""
        return np.maximum(np.abs(self.lower), np.abs(self.upper))

    def square(self) -> "Interval":
        """x²."""
        low, high = np.abs(self.lower), np.abs(self.upper)
        zero = (self.lower <= 0) & (self.upper >= 0)
        return _outward(np.where(zero, 0.0, np.minimum(low, high) ** 2), np.maximum(low, high) ** 2)

    def shaped(self, change: Callable[[np.ndarray], np.ndarray]) -> "Interval":
        """The same numbers, arranged otherwise."""
        return Interval(change(self.lower), change(self.upper))

    def sum(self, axis: int) -> "Interval":
        """Sums along an axis."""
        error = 2 * self.lower.shape[axis] * EPS * self.size.sum(axis) + TINY
        return Interval(self.lower.sum(axis) - error, self.upper.sum(axis) + error)

    def times(self, weight: np.ndarray) -> "Interval":
        """The matrix product with exact numbers, ``(in, out)``."""
        positive, negative = np.maximum(weight, 0), np.minimum(weight, 0)
        error = 4 * (len(weight) + 2) * EPS * (self.size @ np.abs(weight)) + TINY
        lower = self.lower @ positive + self.upper @ negative
        return Interval(lower - error, self.upper @ positive + self.lower @ negative + error)


def _outward(lower: np.ndarray, upper: np.ndarray, ulps: int = 1) -> Interval:
    """Bounds of results that are rounded by so many units in the last place."""
    margin = ulps * EPS
    return Interval(lower - margin * np.abs(lower) - TINY, upper + margin * np.abs(upper) + TINY)


def _increasing(function: Callable[[np.ndarray], np.ndarray], x: Interval) -> Interval:
    return _outward(function(x.lower), function(x.upper), ULPS)


def _wave(function: Callable[[np.ndarray], np.ndarray], x: Interval, peak: float) -> Interval:
    """Sine or cosine: between its values at the ends, unless a peak or a trough lies between."""
    ends = function(x.lower), function(x.upper)

    def passes(place: float) -> np.ndarray:
        turns = (np.array([x.lower, x.upper]) - place) / (2 * np.pi)
        return np.floor(turns[1] + 1e-9) >= np.ceil(turns[0] - 1e-9)

    lower = np.where(passes(peak + np.pi), -1.0, np.minimum(*ends))
    return _outward(lower, np.where(passes(peak), 1.0, np.maximum(*ends)), ULPS)


def _exp(x: Interval) -> Interval:
    return _increasing(np.exp, x)


def _cos(x: Interval) -> Interval:
    return _wave(np.cos, x, 0.0)


def _sin(x: Interval) -> Interval:
    return _wave(np.sin, x, np.pi / 2)


def _sigmoid_slope(x: Interval) -> Interval:
    """The derivative s (1 - s) as a quarter less the square of s - 1/2."""
    distance = (_increasing(expit, x) - _number(0.5)).square()
    return _number(0.25) - distance


def _tanh_slope(x: Interval) -> Interval:
    return _number(1.0) - _increasing(np.tanh, x).square()


def _erf_slope(x: Interval) -> Interval:
    factor = _outward(*[np.array(2 / np.pi**0.5)] * 2, ulps=4)
    return factor * _exp(-x.square())


def _reciprocal(x: Interval) -> Interval:
    if not (x.lower > 0).all():
        raise ValueError("a divisor that may be zero")
    return _outward(1 / x.upper, 1 / x.lower)


def _step(x: Interval) -> Interval:
    """The slopes of ReLU that are met, or lie between those that are."""
    return Interval((x.lower > 0).astype(np.float64), (x.upper > 0).astype(np.float64))


def _number(value: float) -> Interval:
    return Interval.exactly(np.array(value))


FUNCTIONS: dict[str, tuple[Callable[[Interval], Interval], Callable[[Interval], Interval]]] = {
    "Sigmoid": (lambda x: _increasing(expit, x), _sigmoid_slope),
    "Tanh": (lambda x: _increasing(np.tanh, x), _tanh_slope),
    "Erf": (lambda x: _increasing(erf, x), _erf_slope),
    "Exp": (_exp, _exp),
    "Sin": (_sin, _cos),
    "Cos": (_cos, lambda x: -_sin(x)),
    "Relu": (lambda x: Interval(np.maximum(x.lower, 0), np.maximum(x.upper, 0)), _step),
    "Reciprocal": (_reciprocal, lambda x: -_reciprocal(x).square()),
}


@dataclass(frozen=True, slots=True)
class Value:
    """What a node of a network may be on boxes of inputs, ``(boxes, *shape)``.

    Attributes:
        centre: its value at the centres of the boxes.
        slope: its partial derivatives anywhere in the boxes, ``(boxes, inputs, *shape)``.
        range: its values anywhere in the boxes.
        radius: of the boxes, ``(boxes, inputs)``.
    """

    centre: Interval
    slope: Interval
    range: Interval
    radius: np.ndarray

    @classmethod
    def inputs(cls, lower: np.ndarray, upper: np.ndarray, varying: np.ndarray, shape: tuple[int, ...]) -> "Value":
        """The inputs on boxes ``(boxes, size)``; those that are not ``varying`` are single points."""
        centre = (lower + upper) / 2
        radius = np.nextafter(np.maximum(upper - centre, centre - lower)[:, varying], np.inf)
        slope = np.broadcast_to(np.eye(lower.shape[1])[varying], (len(lower), len(varying), lower.shape[1]))
        sides = (Interval.exactly(centre), Interval.exactly(slope), Interval(lower, upper))
        shaped = (side.shaped(lambda a: a.reshape(*a.shape[:-1], *shape)) for side in sides)
        return cls(*shaped, radius)

    def linear(self, change: Callable[[Interval], Interval]) -> "Value":
        """The image under a linear map of the last axes."""
        return self._with(change(self.centre), change(self.slope), change(self.range))

    def shaped(self, change: Callable[[np.ndarray, int], np.ndarray]) -> "Value":
        """The same numbers, arranged otherwise; told how many axes stand before the value's own."""
        centre, values = (side.shaped(lambda a: change(a, 1)) for side in (self.centre, self.range))
        return Value(centre, self.slope.shaped(lambda a: change(a, 2)), values, self.radius)

    def apply(self, name: str) -> "Value":
        """A function of FUNCTIONS, element by element."""
        function, derivative = FUNCTIONS[name]
        slope = self.slope * _over_inputs(derivative(self.range))
        return self._with(function(self.centre), slope, function(self.range))

    def __add__(self, other: "Value") -> "Value":
        return self._with(self.centre + other.centre, self.slope + other.slope, self.range + other.range)

    def __sub__(self, other: "Value") -> "Value":
        return self + other.linear(lambda part: -part)

    def __mul__(self, other: "Value") -> "Value":
        slope = self.slope * _over_inputs(other.range) + other.slope * _over_inputs(self.range)
        return self._with(self.centre * other.centre, slope, self.range * other.range)

    def plus(self, constant: np.ndarray) -> "Value":
        """Exact numbers added."""
        exact = Interval.exactly(constant)
        return self._with(self.centre + exact, self.slope, self.range + exact)

    def scaled(self, factor: Interval) -> "Value":
        """The product with constants."""
        return self.linear(lambda part: part * factor)

    @staticmethod
    def stacked(values: Sequence["Value"]) -> "Value":
        """Values of one shape along a new last axis."""

        def together(sides: list[Interval]) -> Interval:
            return Interval(*(np.stack(ends, -1) for ends in zip(*((s.lower, s.upper) for s in sides), strict=True)))

        parts = (together([getattr(one, side) for one in values]) for side in ("centre", "slope", "range"))
        return Value(*parts, values[0].radius)

    def _with(self, centre: Interval, slope: Interval, values: Interval) -> "Value":
        """Intersect the range with the mean value form."""
        inputs = self.radius.shape[1]
        radius = self.radius.reshape(len(self.radius), inputs, *[1] * (slope.lower.ndim - 2))
        reach = (slope.size * radius).sum(1) * (1 + 2 * (inputs + 2) * EPS) + TINY
        form = _outward(centre.lower - reach, centre.upper + reach, 2)
        return Value(centre, slope, values & form, self.radius)


def _over_inputs(x: Interval) -> Interval:
    return x.shaped(lambda a: a[:, None])
