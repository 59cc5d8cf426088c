"""The pages: they build, say what the code says, need no network, and their code gives what they say."""

from __future__ import annotations

import argparse
import html
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path

import pytest

import specs
import verifier
from verifier.graph.lower import LOWER
from verifier.ops.op import OPS
from verifier.options import parser

ROOT = Path(__file__).resolve().parents[2]

built = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("mkdocs", "material", "mkdocstrings")), reason="the extra docs is absent"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, built as ``make docs`` does, without a network to ask."""
    folder = tmp_path_factory.mktemp("site")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, **nowhere, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def text_of(site: Path, page: str) -> str:
    """The text of a page without its tags."""
    body = (site / f"{page}.html").read_text(encoding="utf-8").split('<article class="md-content__inner')[1]
    return html.unescape(re.sub("<[^>]*>", "", body.split("</article>")[0]))


@built
def test_every_option_of_every_command_is_said(site: Path) -> None:
    sections = re.split(r"\n *(verifier(?: [a-z]+)?)¶\n", text_of(site, "commands"))
    said = dict(zip(sections[1::2], sections[2::2], strict=True))
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    assert set(said) == {"verifier", *(f"verifier {name}" for name in commands.choices)}
    for name, command in commands.choices.items():
        options = {option for action in command._actions for option in action.option_strings if option[:2] == "--"}
        assert options - {"--help"} <= set(re.findall(r"--[a-z-]+", said[f"verifier {name}"])), name
        assert "&#124;" not in said[f"verifier {name}"]


@built
def test_every_operator_is_said(site: Path) -> None:
    rows = (site / "operators.html").read_text(encoding="utf-8").split("<tr>")
    first = {match[1]: row for row in rows if (match := re.match(r"\s*<td><code>(\w+)</code></td>", row))}
    own = {name for name, kind in OPS.items() if kind.__module__.startswith("verifier.")}
    assert set(LOWER) | own <= set(first)
    cells = {name: re.findall(r"<td>(.*?)</td>", row)[2:] for name, row in first.items() if name in own}
    assert cells["Transpose"][-2:] == ["not needed", "yes"]
    assert cells["Gelu"] == ["between two lines", "yes", "yes"]
    assert cells["Product"] == ["between two planes", "yes", "yes"]
    assert cells["Floor"][-1] == "no"


@built
def test_every_public_name_is_described(site: Path) -> None:
    page = (site / "python.html").read_text(encoding="utf-8")
    for package in (verifier, specs):
        described = re.findall(rf'<h3 id="{package.__name__}\.(?:\w+\.)*(\w+)"', page)
        assert sorted(described) == sorted(set(package.__all__) - {"__version__", "bounds"})  # output_bounds by name


@built
def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.glob("*.html"):
        loads = re.findall(r"<(?:script|img|link|source|iframe)\b[^>]*>", page.read_text(encoding="utf-8"))
        assert not [tag for tag in loads if re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag)], page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", sheet.read_text(encoding="utf-8")), sheet.name


@built
def test_every_figure_is_there_and_can_be_drawn(site: Path) -> None:
    shown = {name for page in site.glob("*.html") for name in re.findall(r'src="(figures/[^"]*)"', page.read_text())}
    assert shown == {f"figures/{path.name}" for path in (site / "figures").iterdir()}
    for name in shown:
        assert ET.parse(site / name).getroot().tag.endswith("svg")


def test_the_python_of_the_first_page_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT / "vnnlib_examples")
    page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    examples = re.findall(r"```python\n(.*?)```\n```text\n(.*?)```", page, flags=re.DOTALL)
    assert len(examples) == page.count("```python")
    for code, said in examples:
        exec(compile(code, "index.md", "exec"), names)
        assert capsys.readouterr().out == said
