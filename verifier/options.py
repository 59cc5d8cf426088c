"""The options of the command, and reading them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from verifier import __version__
from verifier.config import Config
from verifier.errors import UsageError

NAME = "nn-verifier"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all of ours."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def parser() -> Parser:
    """Describe the options."""
    top = Parser(prog="verifier", description="Proves properties of neural networks, or finds counterexamples.")
    top.add_argument("--version", action="version", version=__version__)
    top.add_argument("--name", action="version", version=NAME, help="show the name of this tool and exit")
    commands = top.add_subparsers(metavar="COMMAND", dest="command", required=True)
    add_verify(commands)

    bounds = command(commands, "bounds", "print bounds of the outputs on the input boxes of a property")
    bounds.add_argument("model", metavar="NET.onnx", type=Path)
    bounds.add_argument("spec", metavar="SPEC.vnnlib", type=Path)
    bounds.add_argument("--method", choices=("interval", "forward", "crown", "alpha"), default="crown")
    bounds.add_argument("--json", metavar="FILE", type=Path)

    inspect = command(commands, "inspect", "print what a network consists of")
    inspect.add_argument("model", metavar="NET.onnx", type=Path)
    return top


def command(commands: Any, name: str, text: str) -> Parser:
    """Add a command."""
    added: Parser = commands.add_parser(name, help=text, description=text.capitalize() + ".", allow_abbrev=False)
    added.add_argument("--debug", action="store_true", help="show where an error arose")
    return added


def add_verify(commands: Any) -> None:
    """Describe ``verify``."""
    verify = command(commands, "verify", "decide whether a network has a property")
    verify.usage = "verifier verify (NET.onnx SPEC.vnnlib | SPEC.vnnlib --network NAME=NET.onnx) [options]"
    verify.add_argument("files", metavar="FILE", type=Path, nargs="*", help="NET.onnx SPEC.vnnlib")
    verify.add_argument("--network", metavar="NAME=NET.onnx", action="append", help="the VNNLIB standard's form")
    verify.add_argument("--timeout", metavar="S", type=seconds, help="seconds of wall-clock time, start-up included")
    verify.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    verify.add_argument("--threads", metavar="N", type=at_least(1), help="threads of the CPU")
    verify.add_argument("--no-attack", action="store_true", help="do not look for counterexamples beside the search")
    verify.add_argument("--seed", metavar="N", type=at_least(0), default=0)
    verify.add_argument("--max-iterations", metavar="N", type=at_least(0), help="rounds of branch and bound")
    verify.add_argument("--json", metavar="FILE", type=Path, help="write the verdict and figures of the run")
    verify.add_argument("--counterexample", metavar="FILE", type=Path, help="write what a VNN-COMP results file holds")


def seconds(text: str) -> float:
    """Read a length of time."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def at_least(least: int) -> Callable[[str], int]:
    """Return a reader of whole numbers."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) < 2**63:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        return int(text)

    return read


def read(argv: Sequence[str]) -> argparse.Namespace:
    """Read the arguments of a call.

    Returns:
        The options by name; those of ``verify`` have ``model``, ``spec`` and ``config`` beside what these came from.

    Raises:
        UsageError: the arguments have no meaning.
        SystemExit: ``--help`` and its like have been answered.
    """
    top = parser()
    options, rest = top.parse_known_args(argv)
    unknown = [text for text in rest if text.startswith("-") or options.command != "verify"]
    if unknown:
        raise UsageError(f"unrecognized arguments: {' '.join(unknown)} (see verifier {options.command} --help)")
    if options.command == "verify":
        files = [*options.files, *map(Path, rest)]  # argparse leaves files behind options aside
        options.model, options.spec = named_files(files, options.network or [])
        limit = options.timeout if options.timeout is not None and math.isfinite(options.timeout) else None
        options.config = Config(
            limit, options.device, options.threads, not options.no_attack, options.seed, options.max_iterations
        )
    return options


def named_files(files: list[Path], networks: list[str]) -> tuple[Path, Path]:
    """Return the network and the property, in either form of the command."""
    if not networks:
        if len(files) != 2:
            raise UsageError(f"NET.onnx and SPEC.vnnlib are needed, {len(files)} files were named")
        if ".vnnlib" in files[0].suffixes and ".onnx" in files[1].suffixes:
            raise UsageError(f"{files[0]} is no network: the network comes first, then the property")
        return files[0], files[1]
    if len(files) != 1:
        raise UsageError(f"with --network, one file SPEC.vnnlib is needed, {len(files)} were named")
    if len(networks) > 1:
        raise UsageError("--network: several networks need VNNLIB 2.0, which is not supported yet, only 1.0")
    name, equals, path = networks[0].partition("=")
    if not (name and equals and path):
        raise UsageError(f"--network: {networks[0]!r} is not NAME=NET.onnx")
    return Path(path), files[0]
