"""What README.md says there is: the operators that are read, and the options of each command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from verifier.graph.lower import LOWER
from verifier.options import parser

TEXT = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
COMMANDS = ("verify", "bounds", "inspect")


def test_the_operators_are_those_that_are_read() -> None:
    rows = re.findall(r"^  \| [a-z ]+ \| (.*) \|$", TEXT, flags=re.MULTILINE)
    named = [word for row in rows for word in re.findall(r"\b[A-Z]\w+", row)]
    assert sorted(named) == sorted(LOWER)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_are_those_of_the_command(name: str) -> None:
    usage = TEXT.split("## The command")[1].split("```")[1]
    said = {"--help", "--debug"}
    for part in re.split(rf"\bverifier (?={'|'.join(COMMANDS)})", usage):
        if part.startswith(name):
            said.update(re.findall(r"--[a-z-]+", part))
    (commands,) = (action.choices for action in parser()._actions if action.dest == "command")
    assert commands is not None
    assert said == {text for action in commands[name]._actions for text in action.option_strings if len(text) > 2}
