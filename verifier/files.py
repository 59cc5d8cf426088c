"""The bytes of files, gzipped or not."""

from __future__ import annotations

import zlib
from pathlib import Path

GZIP_MAGIC = b"\x1f\x8b"
GZIP_WINDOW = 31
"""Tells zlib to expect gzip's header and trailer."""

KEPT = 1 << 29
"""Bytes up to which content is kept until the next call: a model is parsed, and may be run from the file soon after."""

_last: tuple[tuple[str, int, int], bytes] | None = None


def content(path: Path) -> bytes:
    """Return what a file holds, with gzip, which its first bytes tell, undone.

    Raises:
        OSError: the file cannot be read.
        EOFError: its gzip stream ends too early.
        zlib.error: its gzip stream is damaged.
    """
    global _last
    stat = path.stat()
    key = (str(path.absolute()), stat.st_mtime_ns, stat.st_size)
    last, _last = _last, None
    if last is not None and last[0] == key:
        return last[1]
    packed = path.read_bytes()
    if not packed.startswith(GZIP_MAGIC):
        return packed
    data = unzip(packed)
    if len(data) <= KEPT:
        _last = key, data
    return data


def unzip(packed: bytes) -> bytes:
    """Undo gzip."""
    pieces: list[bytes] = []
    while packed.startswith(GZIP_MAGIC):
        member = zlib.decompressobj(GZIP_WINDOW)
        pieces.append(member.decompress(packed))
        if not member.eof:
            raise EOFError
        packed = member.unused_data
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
