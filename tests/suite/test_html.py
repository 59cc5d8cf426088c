"""The report has every instance, needs no other file, and a browser has nothing to say against it."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from verifier.cli import main
from verifier.suite import html, results
from verifier.suite.journal import Entry, opened

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
TRICKY = "</script><script>alert('$body')</script>&amp;.onnx"


def entries() -> list[Entry]:
    """Results of all kinds in two benchmarks."""
    kinds = [
        ("unsat", "unsat", 0.0, ""), ("sat", "sat", 3.5, ""), ("sat", "unsat", 0.2, ""), ("unsat", "unsat", 30.0, ""),
        ("unknown", "sat", 7.0, "gave up: no more"), ("unknown", "sat", 7.0, "gave up: too hard"),
        ("timeout", "unknown", 21.0, ""), ("error", "unknown", 0.3, "killed by SIGSEGV"),
    ]  # fmt: skip
    return [
        Entry(benchmark, f"nets/{TRICKY}", f"props/{k}.vnnlib.gz", 20.0, [], expected, result, seconds, reason, 0)
        for benchmark in ("a", "b")
        for k, (result, expected, seconds, reason) in enumerate(kinds)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A suite's results in ``out``, and another tool's in other.csv."""
    (tmp_path / "out").mkdir()
    with opened(tmp_path / "out") as journal:
        for entry in entries():
            journal.append(entry)
    lines = [f"a_2025,./x/{TRICKY},{k}.vnnlib,1.5,{word},{k + 1}.25" for k, word in enumerate(["holds", "timeout"])]
    (tmp_path / "other.csv").write_text("\n".join(line.replace("a_2025", "a") for line in lines) + "\n")
    return tmp_path


class Reader(HTMLParser):
    """Text of a page's cells by row, and all that it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.loads: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [str(value) for name, value in attrs if name in ("src", "href") and value != "data:,"]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.inside = tag in ("td", "th")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def test_every_instance_is_in_the_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(folder / "out"), "--against", str(folder / "other.csv")]) == 0
    text = (folder / "out" / "report.html").read_text()
    assert capsys.readouterr().out.strip().endswith("report.html")
    page = Reader()
    page.feed(text)
    assert page.loads == []
    assert "http" not in text.replace("http-equiv", "")
    for entry in entries():
        (row,) = (row for row in page.rows if row[:3] == [*entry.key])
        assert row[3:8] == [entry.expected, entry.result, f"{entry.seconds:.2f}", "20", entry.reason]
    theirs = {(row[0], row[2][6]): row[8:] for row in page.rows[-len(entries()) :]}
    assert theirs["a", "0"] == ["unsat", "1.25"]
    assert theirs["a", "1"] == ["timeout", "2.25"]
    assert theirs["b", "0"] == ["", ""]
    assert ["unknown: gave up", "4"] in page.rows
    assert ["all", "16/16", "4", "4", "4", "4", "2", "2", "2", "138.0"] in page.rows


def test_the_diagrams_have_what_was_solved(folder: Path) -> None:
    text = html.page(entries(), "title", results.Others(results.read(folder / "other.csv")), "other")
    assert ">this run: 4<" in text
    assert ">other: 1<" in text
    assert len(re.findall(r'class="point', text)) == 2
    assert "</script><script>" not in text


def test_an_empty_report_has_no_diagrams_that_fail() -> None:
    assert "<svg" in html.page([], "nothing")


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_a_browser_shows_it_without_complaint(folder: Path) -> None:
    page = folder / "page.html"
    assert main(["report", str(folder / "out"), "--against", str(folder / "other.csv"), "--html", str(page)]) == 0
    script = "<script>field('result').value = 'wrong'; filter(); sortBy(5);</script>"
    page.write_text(page.read_text().replace("</body>", f"{script}</body>"))
    shown = browse(page, folder)
    assert "CONSOLE" not in shown.stderr, shown.stderr
    hidden = re.findall(r"<tr [^>]*data-benchmark=[^>]*>", shown.stdout)
    assert len(hidden) == 16
    assert sum("hidden" not in row for row in hidden) == 2
    assert "2 of 16 instances" in shown.stdout


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_a_complaint_would_be_seen(folder: Path) -> None:
    page = folder / "page.html"
    page.write_text("<!DOCTYPE html><title>x</title><script>nothing.here()</script>")
    assert "CONSOLE" in browse(page, folder).stderr


def browse(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Open a page: its elements go to stdout once its scripts have run, the console's messages to stderr."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    options += ["--enable-logging=stderr", "--log-level=0", "--dump-dom", page.as_uri()]
    return subprocess.run([str(BROWSER), *options], capture_output=True, text=True, check=True, timeout=60)
