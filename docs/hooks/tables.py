"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the text of cells is Markdown, in which bars and line breaks are no syntax."""
    lines = [header, ["---"] * len(header), *([cell(text) for text in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(text: str) -> str:
    """Return a text as one line, in which code stands in single backquotes, and bars elsewhere are no syntax."""
    parts = " ".join(text.replace("``", "`").split()).split("`")
    parts[::2] = (part.replace("|", "&#124;") for part in parts[::2])
    return "`".join(parts)
