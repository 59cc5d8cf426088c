"""Which networks and which property a call of ``verify`` names."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

from verifier.errors import UsageError


def named_files(files: list[Path], networks: list[str]) -> tuple[Path | dict[str, Path], Path]:
    """Return the network, or the networks by name, and the property, in any form of the command."""
    if not networks:
        if len(files) != 2:
            raise UsageError(f"NET.onnx and SPEC.vnnlib are needed, {len(files)} files were named")
        if ".vnnlib" in files[0].suffixes and ".onnx" in files[1].suffixes:
            raise UsageError(f"{files[0]} is no network: the network comes first, then the property")
        return (listed(str(files[0])) if str(files[0]).startswith("[") else files[0]), files[1]
    if len(files) != 1:
        raise UsageError(f"with --network, one file SPEC.vnnlib is needed, {len(files)} were named")
    pairs = [tuple(text.split("=", 1)) for text in networks]
    for text, pair in zip(networks, pairs, strict=True):
        if len(pair) != 2 or not all(pair):
            raise UsageError(f"--network: {text!r} is not NAME=NET.onnx")
    return distinct(pairs, "--network"), files[0]


def listed(text: str) -> dict[str, Path]:
    """Read networks from a list of pairs as Python writes it, the form of VNN-COMP's instances."""
    try:
        pairs = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pairs = None
    if not isinstance(pairs, list) or not pairs or not all(map(is_pair, pairs)):
        raise UsageError(f"{text!r} is not a list of networks as in [('f', 'f.onnx'), ('g', 'g.onnx')]")
    return distinct(pairs, "networks")


def is_pair(value: object) -> bool:
    """Tell pairs of two texts."""
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, str) and part for part in value)


def distinct(pairs: Sequence[Sequence[str]], what: str) -> dict[str, Path]:
    """Return paths by name."""
    found: dict[str, Path] = {}
    for name, path in pairs:
        if name in found:
            raise UsageError(f"{what}: {name} is named twice")
        found[name] = Path(path)
    return found
