"""The diagrams of a report, as SVG: cactus plots, and scatter plots of two tools' times; times are logarithmic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 420
LEFT, RIGHT, TOP, BOTTOM = 60, 16, 16, 48
LEAST_SECONDS = 0.01
COLOURS = ("#1f5fa8", "#c4572b")


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a cactus plot: the seconds of what was solved."""

    name: str
    seconds: Sequence[float]


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a scatter plot: seconds of two tools, what to say of it, and its classes in the page's style."""

    x: float
    y: float
    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to one axis of the picture; times on a logarithmic scale, counts on a linear one."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = True

    def __call__(self, value: float) -> float:
        """Return the place of a value; one outside is put at the end."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self) -> Iterator[float]:
        """Return values to mark: powers of ten, or about five round numbers."""
        if self.logarithmic:
            for power in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1):
                yield 10.0**power
            return
        rough = max((self.high - self.low) / 5, 1)
        step = next(s for s in (1, 2, 5, 10) if s * 10 ** math.floor(math.log10(rough)) >= rough)
        step *= 10 ** math.floor(math.log10(rough))
        yield from (step * k for k in range(int(self.high // step) + 1))


def times(values: Sequence[float], start: float, end: float) -> Scale:
    """Return a scale of whole powers of ten around these seconds."""
    inside = [max(value, LEAST_SECONDS) for value in values if math.isfinite(value)] or [1.0]
    low = 10.0 ** math.floor(math.log10(min(inside)))
    return Scale(low, max(10.0 ** math.ceil(math.log10(max(inside))), 10 * low), start, end)


def cactus(lines: Sequence[Series]) -> str:
    """Draw how many instances are solved within how many seconds each: the more to the right, the better."""
    ordered = [sorted(line.seconds) for line in lines]
    x = Scale(0, max([len(line) for line in ordered] + [1]), LEFT, WIDTH - RIGHT, logarithmic=False)
    y = times([value for line in ordered for value in line], HEIGHT - BOTTOM, TOP)
    parts = [*frame(x, y, "solved instances", "seconds")]
    for k, (line, values) in enumerate(zip(lines, ordered, strict=True)):
        points = " ".join(f"{x(count)},{y(value)}" for count, value in enumerate(values, start=1))
        colour, row = COLOURS[k % len(COLOURS)], TOP + 18 + 18 * k
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{place.split(",")[0]}" cy="{place.split(",")[1]}" r="2" fill="{colour}"/>'
                  for place in points.split()]  # fmt: skip
        parts.append(f'<text x="{LEFT + 12}" y="{row}" fill="{colour}">{escape(line.name)}: {len(values)}</text>')
    return picture(parts, "Cactus plot")


def scatter(points: Sequence[Point], x_name: str, y_name: str) -> str:
    """Draw the seconds of two tools on the same instances: below the diagonal, the vertical axis' tool is faster."""
    values = [value for point in points for value in (point.x, point.y)]
    x, y = times(values, LEFT, WIDTH - RIGHT), times(values, HEIGHT - BOTTOM, TOP)
    parts = [*frame(x, y, f"{x_name}, seconds", f"{y_name}, seconds")]
    parts.append(f'<line x1="{x(x.low)}" y1="{y(y.low)}" x2="{x(x.high)}" y2="{y(y.high)}" class="diagonal"/>')
    for point in points:
        place = f'cx="{x(point.x)}" cy="{y(point.y)}" r="3.5"'
        parts.append(f'<circle {place} class="point {point.kind}"><title>{escape(point.text)}</title></circle>')
    return picture(parts, "Scatter plot")


def frame(x: Scale, y: Scale, x_name: str, y_name: str) -> Iterator[str]:
    """Draw axes, grid and names."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for value in x.ticks():
        yield f'<line x1="{x(value)}" y1="{TOP}" x2="{x(value)}" y2="{bottom}" class="grid"/>'
        yield f'<text x="{x(value)}" y="{bottom + 18}" text-anchor="middle">{value:g}</text>'
    for value in y.ticks():
        yield f'<line x1="{LEFT}" y1="{y(value)}" x2="{right}" y2="{y(value)}" class="grid"/>'
        yield f'<text x="{LEFT - 8}" y="{y(value) + 4}" text-anchor="end">{value:g}</text>'
    middle = (TOP + bottom) / 2
    yield f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_name)}</text>'
    yield f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(y_name)}</text>'


def picture(parts: Sequence[str], name: str) -> str:
    """Put the parts of a diagram together."""
    inside = "\n".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{name}">\n{inside}\n</svg>'
