"""What README.md says there is: the operators that are read, the options of each command, and what slopes are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from verifier.cli import main
from verifier.graph.lower import LOWER
from verifier.options import parser

TEXT = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
COMMANDS = ("verify", "bounds", "inspect", "lipschitz", "monotone", "suite", "report")
EXAMPLES = Path(__file__).resolve().parents[2] / "vnnlib_examples"
SLOPES = TEXT.split("## How steep a network is")[1].split("\n## ")[0]


def test_the_operators_are_those_that_are_read() -> None:
    rows = re.findall(r"^  \| [a-z ]+ \| (.*) \|$", TEXT, flags=re.MULTILINE)
    named = [word for row in rows for word in re.findall(r"\b[A-Z]\w+", row)]
    assert sorted(named) == sorted(LOWER)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_are_those_of_the_command(name: str) -> None:
    usage = TEXT.split("## The command")[1].split("```")[1]
    said = {"--help", "--debug"}
    for part in re.split(rf"\bverifier (?={'|'.join(COMMANDS)}|supports)", usage):
        if part.startswith(name):
            said.update(re.findall(r"--[a-z-]+", part))
    (commands,) = (action.choices for action in parser()._actions if action.dest == "command")
    assert commands is not None
    assert said == {text for action in commands[name]._actions for text in action.option_strings if len(text) > 2}


@pytest.mark.parametrize("call", re.findall(r"^\$ verifier (.*)$", SLOPES, flags=re.MULTILINE))
def test_the_answers_about_slopes_are_those_of_the_command(
    call: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Brackets and verdicts, that is: the time that they take differs, and other numbers may get better."""
    monkeypatch.chdir(EXAMPLES)
    said = SLOPES.split(f"$ verifier {call}\n")[1].split("```")[0].split("$ ")[0]
    assert main(call.split()) == 0
    found = capsys.readouterr().out
    brackets = r"([0-9.]+) <= Lipschitz constant|constant <= ([0-9.]+)"
    for one, other in zip(re.findall(brackets, said), re.findall(brackets, found), strict=True):
        assert [float(end or 0) for end in one] == pytest.approx([float(end or 0) for end in other], rel=1e-3)
    verdicts = r"^(X_.* -> .*  \w+) "
    assert re.findall(verdicts, said, flags=re.MULTILINE) == re.findall(verdicts, found, flags=re.MULTILINE)


def test_the_python_about_slopes_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(EXAMPLES)
    code, said = re.findall(r"```python\n(.*?)```\n```\n(.*?)```", SLOPES, flags=re.DOTALL)[0]
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == said
