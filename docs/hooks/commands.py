"""The reference of the command, from its parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from tables import table

from verifier.options import parser


def reference() -> str:
    """Return a table of all commands, and a section for each: its usage, and a table of its arguments."""
    top = parser()
    (commands,) = (action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    about = {action.dest: action.help or "" for action in commands._choices_actions}
    listed = table(("command", "what it does"), ((f"`{name}`", text) for name, text in about.items()))
    sections = [listed, section("verifier", top, "")]
    sections += [section(f"verifier {name}", found, about[name]) for name, found in commands.choices.items()]
    return "\n".join(sections)


def section(title: str, found: argparse.ArgumentParser, about: str) -> str:
    """Describe one command."""
    usage = " ".join(found.format_usage().removeprefix("usage: ").split())
    sentence = f"{about[0].upper()}{about[1:]}.\n\n" if about else ""
    return f"## {title}\n\n{sentence}```text\n{folded(usage)}\n```\n\n" + table(("argument", "meaning"), rows(found))


def rows(found: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Yield a row for each argument but ``--help`` and the command itself."""
    for action in found._actions:
        if not isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            yield f"`{spelled(action)}`", meaning(action)


def spelled(action: argparse.Action) -> str:
    """Return what a user types."""
    value = "" if action.nargs == 0 else value_of(action)
    return " ".join(filter(None, (", ".join(action.option_strings), value)))


def value_of(action: argparse.Action) -> str:
    """Return what stands for the value of an argument."""
    if isinstance(action.metavar, str):
        return action.metavar
    return "|".join(map(str, action.choices)) if action.choices is not None else action.dest.upper()


def meaning(action: argparse.Action) -> str:
    """Return the help of an argument, and its default where the help does not name it."""
    notes = [(action.help or "").replace("%%", "%")]
    shown = action.default not in (None, False, argparse.SUPPRESS) and "by default" not in notes[0]
    notes += ["required"] * (action.required and bool(action.option_strings))
    notes += ["may be repeated"] * isinstance(action, argparse._AppendAction)
    notes += [f"`{action.default}` by default"] * shown
    return "; ".join(filter(None, notes))


def folded(usage: str, width: int = 72) -> str:
    """Break a usage between its arguments."""
    lines = [""]
    depth = 0
    for word in usage.split(" "):
        if depth == 0 and len(lines[-1]) + len(word) > width:
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
        depth += word.count("[") + word.count("(") - word.count("]") - word.count(")")
    return "\n".join(lines)
