"""Whether two processes run the same code: what one closes, the other takes for proved."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGES = Path(__file__).resolve().parents[2]


@cache
def fingerprint() -> str:
    """Return a digest of the sources of this project, and the version of torch."""
    digest = hashlib.sha256()
    for package in ("specs", "verifier"):
        for path in sorted((PACKAGES / package).rglob("*.py")):
            digest.update(f"{path.relative_to(PACKAGES).as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return f"{digest.hexdigest()[:16]}, torch {version('torch')}"
