"""What ``lipschitz --certify`` says, as text and as plain data. Nothing here prints."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from verifier.report import aligned, rounded, versions

if TYPE_CHECKING:
    from verifier.lipschitz.certificates import CertifiedRadii

RADII = {
    "2": (("0", 0.0), ("36/255", 36 / 255), ("72/255", 72 / 255), ("108/255", 108 / 255), ("1", 1.0)),
    "inf": (("0", 0.0), ("1/255", 1 / 255), ("2/255", 2 / 255), ("8/255", 8 / 255), ("0.1", 0.1), ("0.3", 0.3)),
}
"""At which certified accuracies are usually compared, by norm."""

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Parts of the points."""

DIGITS = 6


def text(found: CertifiedRadii) -> str:
    """Return two tables and a line: certified accuracies, quantiles of the radii, and what they rest on."""
    accuracies = [("radius", *(name for name, _ in RADII[found.norm]))]
    accuracies += [("certified accuracy", *(f"{found.accuracy(eps):.4f}" for _, eps in RADII[found.norm]))]
    quantiles = [("part of points", *(f"{part:.0%}" for part in QUANTILES))]
    quantiles += [("radius at most", *(rounded(found.quantile(part), up=False, digits=DIGITS) for part in QUANTILES))]
    what = f"norm {found.norm}, {constants(found)}"
    proved = "" if found.certified else ", NOT PROVED: see --solver"
    last = f"{len(found.radii)} points ({what}, {found.seconds:.2f} s{proved}): {found.reason}"
    return "\n".join([aligned(accuracies), aligned(quantiles), last])


def progress(found: CertifiedRadii) -> str:
    """Return what a run has reached."""
    return f"median radius {rounded(found.quantile(0.5), up=False, digits=DIGITS)}, {constants(found)}"


def constants(found: CertifiedRadii) -> str:
    """Return what the radii rest on: the constant of all outputs, and the greatest of those of differences."""
    parts = [f"Lipschitz constant <= {rounded(found.upper, up=True)}"]
    if found.pairs:
        parts.append(f"of {len(found.pairs)} differences <= {rounded(max(found.pairs.values()), up=True)}")
    return ", ".join(parts)


def record(found: CertifiedRadii, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Return what ``--json`` writes."""
    return {
        **found.as_dict(),
        "certified_accuracy": [[eps, found.accuracy(eps)] for _, eps in RADII[found.norm]],
        "quantiles": [[part, found.quantile(part)] for part in QUANTILES],
        "model": str(options.model),
        "data": str(options.certify),
        "total_seconds": seconds,
        "versions": versions(),
    }
