"""Signals that end a run early."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupts:
    """Ctrl-C and SIGTERM, both as KeyboardInterrupt: either ends a run with the best answer so far.

    ``code`` is the exit code that the last of them asks for, or 0.
    """

    def __init__(self) -> None:
        self.code = 0
        self._held = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        """Take the signals over."""
        self._before = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let signals wait for the end of a block that must not be cut short: an import of torch would abort."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self.code:
            raise KeyboardInterrupt

    def ignore(self) -> None:
        """Let nothing interrupt the writing of an answer."""
        self._held = True

    def _interrupt(self, number: int, _: FrameType | None) -> None:
        if self._held:
            self.code = self.code or 128 + number
            return
        self.code = 128 + number
        raise KeyboardInterrupt
