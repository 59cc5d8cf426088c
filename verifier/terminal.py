"""A line on the terminal that keeps up with a run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def watching(started: float, describe: Callable[[Any], str]) -> Iterator[Callable[[Any], None] | None]:
    """Show a line on the terminal that keeps up with the search, if stderr is one."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    with Live(
        console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
    ) as live:

        def show(progress: Any) -> None:
            live.update(Text(f"{time.monotonic() - started:.0f} s: {describe(progress)}"), refresh=True)

        yield show
