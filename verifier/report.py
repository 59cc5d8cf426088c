"""What the command says, as text and as JSON, and the files that it writes. Nothing here prints."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verifier import __version__
from verifier.errors import UsageError

if TYPE_CHECKING:
    from specs import Query
    from verifier.api import OutputBounds
    from verifier.config import Config
    from verifier.result import Counterexample, Progress, Result

DIGITS = 9
"""Significant digits of numbers in tables."""


def word(result: Result, standard: bool = False) -> str:
    """Return the verdict as the command prints it; ``standard`` means the VNNLIB standard's form."""
    from verifier.result import Reason

    if result.reason is Reason.TIMEOUT:
        return "timed-out" if standard else "timeout"
    return result.verdict.value


def answer(result: Result, standard: bool = False) -> str:
    """Return the verdict, and for ``sat`` the counterexample below it: what a VNN-COMP results file holds."""
    lines = [word(result, standard)]
    if result.counterexample is not None:
        lines.append(assignment(result.counterexample))
    return "\n".join(lines) + "\n"


def assignment(witness: Counterexample) -> str:
    """Return a counterexample in the form of its VNNLIB, with digits enough to give back the same float64 numbers."""
    if witness.query is not None:
        return tensors(witness, witness.query)
    values = [f"(X_{i} {value!r})" for i, value in enumerate(witness.x.tolist())]
    values += [f"(Y_{i} {value!r})" for i, value in enumerate(witness.y.tolist())]
    return "(" + "\n".join(values) + ")"


def tensors(witness: Counterexample, query: Query) -> str:
    """Return the values of all declared tensors: for each a line ``name type [sizes]``, then a line an element."""
    values = query.assignment(witness.x, witness.y)
    lines = []
    for network in query.networks:
        for entry in network.declarations:
            lines.append(f"{entry.name} {entry.type} [{','.join(map(str, entry.shape))}]")
            lines += map(repr, values[entry.name].reshape(-1).tolist())
    return "\n".join(lines)


def summary(result: Result, seconds: float) -> str:
    """Return one line for a person: the verdict and its reason, the time by phase, the domains."""
    progress = result.progress
    why = ": ".join(part for part in (result.reason and result.reason.value, result.detail) if part)
    phases = ", ".join(f"{name} {spent:.2f}" for name, spent in progress.phases.items())
    parts = [
        f"{result.verdict.value}: {why}" if why else result.verdict.value,
        f"{seconds:.2f} s ({phases})" if phases else f"{seconds:.2f} s",
        domains(progress),
    ]
    return "; ".join(" ".join(part.split()) for part in parts)


def domains(progress: Progress) -> str:
    """Return what the search has reached."""
    bound = "" if progress.bound is None else f", worst bound {progress.bound:.4g}"
    return f"{progress.closed} domains closed, {progress.open} open{bound}"


def record(result: Result, seconds: float, config: Config, models: Sequence[Path], spec: Path) -> dict[str, Any]:
    """Return what ``verify --json`` writes; ``seconds`` counts from the start of the command."""
    data = result.as_dict()
    data["bounds"] = {"worst": data.pop("bound")}
    options = asdict(config)
    return {
        **data,
        "seconds": seconds,
        "seed": options.pop("seed"),
        "options": options,
        "model": ", ".join(map(str, models)),
        "spec": str(spec),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions of this program, of Python, and of those libraries that the run loaded."""
    loaded = {
        name: sys.modules[name]
        for name in ("numpy", "torch", "onnx", "onnxruntime", "matplotlib")
        if name in sys.modules
    }
    return {
        "verifier": __version__,
        "python": platform.python_version(),
        **{name: str(getattr(module, "__version__", "unknown")) for name, module in loaded.items()},
    }


def table(found: OutputBounds) -> str:
    """Return the bounds of the outputs over one box, aligned; numbers are rounded outward."""
    rows = [("output", "lower", "upper", "width")]
    for j, (lower, upper) in enumerate(zip(found.lower.tolist(), found.upper.tolist(), strict=True)):
        rows.append((f"Y_{j}", rounded(lower, up=False), rounded(upper, up=True), rounded(upper - lower, up=True)))
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells, one below the other."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(size) for cell, size in zip(row, widths, strict=True)) for row in rows)


def rounded(value: float, up: bool, digits: int = DIGITS) -> str:
    """Return a number to so many digits, rounded to one side so that a bound stays a bound."""
    if not math.isfinite(value):
        return str(value)
    context = Context(prec=digits, rounding=ROUND_CEILING if up else ROUND_FLOOR)
    return f"{context.plus(Decimal(value)).normalize():.{digits}g}"


def bounds_record(found: list[OutputBounds], method: str, seconds: float, model: Path, spec: Path) -> dict[str, Any]:
    """Return what ``bounds --json`` writes."""
    boxes = [
        {
            "input": {"lower": part.box.lower.tolist(), "upper": part.box.upper.tolist()},
            "output": {"lower": part.lower.tolist(), "upper": part.upper.tolist()},
        }
        for part in found
    ]
    return {
        "method": method,
        "boxes": boxes,
        "seconds": seconds,
        "model": str(model),
        "spec": str(spec),
        "versions": versions(),
    }


def to_json(data: Any) -> str:
    """Return JSON text; numbers that JSON does not have (infinite, NaN) become null."""
    return json.dumps(_plain(data), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_inputs(paths: Iterable[Path]) -> None:
    """Refuse input files that cannot be opened, before anything slow happens.

    Raises:
        UsageError: one of them cannot.
    """
    for path in paths:
        try:
            path.open("rb").close()
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path]) -> None:
    """Refuse output files that cannot be written, or that would replace an input or each other.

    Raises:
        UsageError: with the path.
    """
    taken = {path.resolve(): "is an input of this run" for path in inputs}
    for path in outputs:
        if path is None:
            continue
        try:
            if path.is_dir():
                raise UsageError(f"{path}: cannot be written: is a directory")
            if _is_special(path):
                continue
            real = path.resolve()
            if real in taken:
                raise UsageError(f"{path}: cannot be written: {taken[real]}")
            if not real.parent.is_dir():
                raise UsageError(f"{path}: cannot be written: there is no folder {real.parent}")
            if not os.access(real.parent, os.W_OK | os.X_OK):
                raise UsageError(f"{path}: cannot be written: no permission to write in {real.parent}")
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from None
        taken[real] = "is written by another option"


def check_folder(path: Path | None) -> None:
    """Refuse a folder for output that is a file.

    Raises:
        UsageError: with the path.
    """
    if path is not None and path.exists() and not path.is_dir():
        raise UsageError(f"{path}: cannot be written: is not a folder")


def write_all(folder: Path, contents: Mapping[str, bytes], suffix: str) -> None:
    """Write files into a folder, which is made if it is not there.

    Raises:
        UsageError: one of them cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made: {error.strerror or error}") from None
    for name, content in contents.items():
        write(folder / f"{name}{suffix}", content)


def write(path: Path, content: str | bytes) -> None:
    """Write a file in one step: whoever reads it meanwhile sees the old one or the new one, whole.

    Raises:
        UsageError: it cannot be written.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        if _is_special(path):
            path.write_bytes(data)
            return
        real = path.resolve()
        draft = real.with_name(f".{real.name}.{os.getpid()}")
        try:
            draft.write_bytes(data)
            draft.replace(real)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from None


def _is_special(path: Path) -> bool:
    """Tell devices and pipes, which must not be replaced by a file."""
    return path.parts[:2] == ("/", "dev") or (path.exists() and not path.is_file())
