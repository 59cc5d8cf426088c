"""Imports point one way, from each layer to those before it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS: tuple[tuple[str, ...], ...] = (
    ("specs",),
    ("verifier.errors", "verifier.called", "verifier.files", "verifier.config", "verifier.result"),
    ("verifier.check",),
    ("verifier.sets", "verifier.balls", "verifier.graph", "verifier.ops"),
    ("verifier.layers", "verifier.export", "verifier.labelled", "verifier.machine"),
    ("verifier.bounds",),
    ("verifier.problem", "verifier.half_spaces"),
    ("verifier.attack", "verifier.search"),
    ("verifier.lipschitz",),
    ("verifier.strict", "verifier.twins"),
    ("verifier.cluster",),
    ("verifier.ready",),
    ("verifier.solving",),
    ("verifier.pipeline", "verifier.api", "verifier.describe", "verifier.tensors"),
    ("verifier.certification",),
    ("verifier",),
    (
        "verifier.options",
        "verifier.named",
        "verifier.supports",
        "verifier.report",
        "verifier.interrupts",
        "verifier.memory",
    ),
    ("verifier.slopes_report", "verifier.radii_report", "verifier.plot"),
    ("verifier.regions", "verifier.terminal", "verifier.runs"),
    ("verifier.suite",),
    ("verifier.cli",),
    ("verifier.__main__",),
)
"""A module imports only from its own layer and those before it."""

RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

NEVER = {"verifier.check": {"verifier.ops", "verifier.bounds", "verifier.search"}, "specs": {"verifier"}}
"""What a part must not import in any case."""

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for top in ("specs", "verifier")
    for path in sorted((ROOT / top).rglob("*.py"))
}


def imports(path: Path) -> set[str]:
    """Modules of this project that a file imports, those for type checking and those inside functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                found.add(below if below in MODULES else str(node.module))
    return {name for name in found if name.partition(".")[0] in ("specs", "verifier")}


def part(module: str) -> str:
    """The part of the project that a module belongs to: the longest name in the layers that contains it."""
    names = module.split(".")
    candidates = [".".join(names[:k]) for k in range(1, len(names) + 1)]
    return next(name for name in reversed(candidates) if name in RANK)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    here = part(module)
    assert here != "verifier" or module == "verifier", f"{module} is in no layer: add it to LAYERS"
    for name in imports(MODULES[module]):
        there = part(name)
        assert RANK[there] <= RANK[here], f"{module} imports {name}: an arrow backwards"
        forbidden = NEVER.get(here, set())
        assert not any(name == other or name.startswith(other + ".") for other in forbidden), f"{module} imports {name}"


def test_only_the_command_prints() -> None:
    for module, path in MODULES.items():
        calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        prints = any(isinstance(call, ast.Name) and call.id == "print" for call in calls)
        assert not prints or module == "verifier.cli"
