"""What ends a run before it is done, without losing what it knows."""

from __future__ import annotations

from types import TracebackType

from verifier.search.bab import out_of_memory


class CutShort:
    """A block that Ctrl-C and lack of memory end without an error.

    Attributes:
        reason: ``interrupted`` or ``memory`` where one of them did, else empty.
    """

    reason = ""

    def __enter__(self) -> CutShort:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Note why the block ended; other errors go on."""
        if isinstance(error, KeyboardInterrupt):
            self.reason = "interrupted"
        elif error is not None and out_of_memory(error):
            self.reason = "memory"
        return bool(self.reason)
