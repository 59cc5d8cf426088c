"""How a process uses memory: settings for one run of the command."""

from __future__ import annotations

import gc
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_BLOCK, KEPT_MEMORY = 1 << 25, 1 << 30
"""What the GNU C library calls two settings, and their values: blocks that are reused, and free memory that is kept."""


def keep_memory() -> None:
    """Tell the C library not to give large blocks back, where it can be told: each would come back as zeroed pages."""
    with suppress(OSError, AttributeError, ImportError, TypeError):
        import ctypes

        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK)
        library.mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY)


def collect_again() -> None:
    """Switch the garbage collector on again, if it was off; what was imported it never looks at."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
