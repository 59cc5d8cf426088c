"""Pages that say what the code says: a line ``{{ name }}`` of a page is replaced by what its generator makes.

MkDocs calls ``on_files`` once and ``on_page_markdown`` for each page. Nothing that is generated is kept in the tree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import commands
import figures
import operators
import public
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

GENERATORS: dict[str, Callable[[], str]] = {
    "commands": commands.reference,
    "onnx operators": operators.onnx_table,
    "own operators": operators.own_table,
    "names of verifier": lambda: public.directives("verifier"),
    "names of specs": lambda: public.directives("specs"),
}
"""What may stand between braces."""


def on_files(files: Files, config: Any) -> Files:
    """Add the figures."""
    for name, draw in figures.FIGURES.items():
        files.append(File.generated(config, f"figures/{name}.svg", content=draw()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in what is generated.

    Raises:
        PluginError: there is no such generator.
    """

    def generated(match: re.Match[str]) -> str:
        if match[1] not in GENERATORS:
            known = ", ".join(GENERATORS)
            raise PluginError(f"{page.file.src_uri}: nothing generates {match[1]!r}; there are {known}")
        return GENERATORS[match[1]]()

    return re.sub(r"^\{\{ (.*) \}\}$", generated, markdown, flags=re.MULTILINE)
