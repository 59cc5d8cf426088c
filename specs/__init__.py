"""Properties of neural networks: what they are, how files state them, and how to build common ones."""

import gzip
import re
import zlib
from os import PathLike, fspath

from specs import vnnlib2
from specs.builders import margin, neighbourhood, output_range, robustness
from specs.errors import SpecError
from specs.lexer import BLANK
from specs.query import Query
from specs.sets import Ball, InputSet
from specs.spec import Case, Rows, Spec
from specs.vnnlib1 import parse

__all__ = [
    "Ball",
    "Case",
    "InputSet",
    "Query",
    "Rows",
    "Spec",
    "SpecError",
    "load",
    "margin",
    "neighbourhood",
    "output_range",
    "parse",
    "robustness",
]

_VERSION = re.compile(BLANK + r"\(\s*+(?=vnnlib-version\b)")


def load(path: str | PathLike[str]) -> Spec:
    """Read a property from a file, plain or gzip; its content decides which, and which version of VNNLIB it is.

    Raises:
        SpecError: the file cannot be read, is not UTF-8, or is not a property that ``parse`` reads.
    """
    name = fspath(path)
    try:
        with open(path, "rb") as file:
            data = file.read()
        text = (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode("utf-8-sig")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SpecError(f"damaged gzip file: {error}", name) from None
    except OSError as error:
        raise SpecError(error.strerror or str(error), name) from None
    except UnicodeDecodeError as error:
        raise SpecError(f"not a text in UTF-8: {error.reason} at byte {error.start}", name) from None
    version = _VERSION.match(text)
    return vnnlib2.parse(text, name) if version else parse(text, name)
