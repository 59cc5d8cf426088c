"""Bounds of every node of a network over boxes of its input.

The package itself can be called: ``verifier.bounds(...)`` is ``verifier.output_bounds(...)``.
"""

from verifier.called import make_callable

CALLED = "verifier.api.output_bounds"

make_callable(__name__)
