"""The options of the command, and reading them."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from verifier import __version__
from verifier.cluster.connect import check_installed
from verifier.config import Config
from verifier.errors import UsageError
from verifier.named import named_files
from verifier.supports import ANSWERS

NAME = "nn-verifier"

ADDRESSES = "local, auto, HOST:PORT or ray://HOST:PORT"


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

    add_lipschitz(commands)
    add_monotone(commands)

    inspect = command(commands, "inspect", "print what a network consists of")
    inspect.add_argument("model", metavar="NET.onnx", type=Path)
    add_supports(commands)
    add_suite(commands)
    return top


def command(commands: Any, name: str, text: str) -> Parser:
    """Add a command."""
    added: Parser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    added.add_argument("--debug", action="store_true", help="show where an error arose")
    return added


def add_verify(commands: Any) -> None:
    """Describe ``verify``."""
    verify = command(commands, "verify", "decide whether a network has a property")
    verify.usage = (
        "verifier verify (NET.onnx SPEC.vnnlib | SPEC.vnnlib --network NAME=NET.onnx ... | "
        "\"[('NAME', 'NET.onnx'), ...]\" SPEC.vnnlib) [options]"
    )
    verify.add_argument("files", metavar="FILE", type=Path, nargs="*", help="NET.onnx SPEC.vnnlib")
    verify.add_argument("--network", metavar="NAME=NET.onnx", action="append", help="the VNNLIB standard's form")
    verify.add_argument("--timeout", metavar="S", type=seconds, help="seconds of wall-clock time, start-up included")
    verify.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    verify.add_argument("--threads", metavar="N", type=at_least(1), help="threads of the CPU")
    verify.add_argument("--no-attack", action="store_true", help="do not look for counterexamples beside the search")
    verify.add_argument("--seed", metavar="N", type=at_least(0), default=0)
    verify.add_argument("--max-iterations", metavar="N", type=at_least(0), help="rounds of branch and bound")
    verify.add_argument("--cluster", metavar="ADDRESS", help=f"spread a long search over a Ray cluster: {ADDRESSES}")
    verify.add_argument("--json", metavar="FILE", type=Path, help="write the verdict and figures of the run")
    verify.add_argument("--counterexample", metavar="FILE", type=Path, help="write what a VNN-COMP results file holds")
    verify.add_argument(
        "--serialise-assignments", metavar="DIR", type=Path, help="write a counterexample as ONNX tensors DIR/NAME.pb"
    )


def add_supports(commands: Any) -> None:
    """Describe ``supports``."""
    supports = command(commands, "supports", "print what this verifier supports, in the words of the VNNLIB standard")
    questions = supports.add_mutually_exclusive_group(required=True)
    for name, (meaning, _) in ANSWERS.items():
        questions.add_argument(f"--{name}", dest="feature", action="store_const", const=name, help=meaning)


def add_lipschitz(commands: Any) -> None:
    """Describe ``lipschitz``."""
    lipschitz = command(commands, "lipschitz", "bound the Lipschitz constant of a network, on a set or everywhere")
    lipschitz.add_argument("model", metavar="NET.onnx", type=Path)
    add_region(lipschitz)
    lipschitz.add_argument("--norm", metavar="P|P,Q", type=norm, default="inf", help="inf, 2 or 1; input and output")
    lipschitz.add_argument("--output", metavar="J|J-K", type=output, help="one output, or a difference; else all")
    lipschitz.add_argument("--inputs", metavar="I,J,...", type=indices, help="those that may change; the others range")
    lipschitz.add_argument("--method", choices=("auto", "clarke", "product", "sdp"), default="auto")
    lipschitz.add_argument(
        "--solver", metavar="auto|barrier|first-order|cvxpy:NAME", default="auto", help="of semidefinite programs"
    )
    lipschitz.add_argument(
        "--timeout", metavar="S", type=seconds, default=60.0, help="start-up included; 60 by default"
    )
    lipschitz.add_argument("--gap", metavar="G", type=number, default=1e-4, help="relative width at which to stop")
    lipschitz.add_argument("--seed", metavar="N", type=at_least(0), default=0)
    lipschitz.add_argument("--radius", action="store_true", help="find a ball about --center that keeps its label")
    lipschitz.add_argument("--certify", metavar="DATA.npz", type=Path, help="prove radii about points x of labels y")
    lipschitz.add_argument("--plot", metavar="FILE", type=Path, help="draw the bounds against time (or the radius)")
    lipschitz.add_argument("--json", metavar="FILE", type=Path)


def add_monotone(commands: Any) -> None:
    """Describe ``monotone``."""
    monotone = command(commands, "monotone", "decide whether an output increases or decreases with inputs")
    monotone.add_argument("model", metavar="NET.onnx", type=Path)
    add_region(monotone)
    monotone.add_argument("--input", metavar="I|I,J,...|all", type=indices_or_all, required=True)
    monotone.add_argument("--output", metavar="J|J-K", type=output, required=True)
    monotone.add_argument("--timeout", metavar="S", type=seconds, default=60.0, help="start-up included; 60 by default")
    monotone.add_argument("--seed", metavar="N", type=at_least(0), default=0)
    monotone.add_argument("--json", metavar="FILE", type=Path)


def add_suite(commands: Any) -> None:
    """Describe ``suite`` and ``report``."""
    suite = command(commands, "suite", "run many instances, each in a process of its own with limits")
    suite.add_argument("instances", metavar="DIR|FILE.csv", type=Path, help="instances.csv, or a folder that has them")
    suite.add_argument("--benchmarks", metavar="A,B", help="only these")
    suite.add_argument("--timeout", metavar="S", type=seconds, help="this limit instead of each instance's own")
    suite.add_argument("--jobs", metavar="N", type=at_least(1), help="at once; 1 by default, on a cluster its cores")
    suite.add_argument("--memory", metavar="GB", type=positive, help="of each; else the machine's, shared equally")
    suite.add_argument("--cluster", metavar="ADDRESS", help=f"run on a Ray cluster: {ADDRESSES}")
    suite.add_argument("--out", metavar="DIR", type=Path, default=Path("results"), help="default: results")
    suite.add_argument("--resume", action="store_true", help="go on where an earlier run with this --out has ended")

    report = command(commands, "report", "write a page on the results of a suite")
    report.add_argument("out", metavar="DIR", type=Path, help="the suite's --out")
    report.add_argument("--against", metavar="results.csv", type=Path, help="another tool's, in the competition's form")
    report.add_argument("--html", metavar="FILE", type=Path, help="default: DIR/report.html")


def add_region(parser: Parser) -> None:
    """Describe the ways to name a set of inputs."""
    parser.add_argument("--spec", metavar="SPEC.vnnlib", type=Path, help="its input boxes")
    parser.add_argument("--center", metavar="X.npy", type=Path, help="of a ball")
    parser.add_argument("--eps", metavar="E", type=number, help="its radius")
    parser.add_argument("--ball", choices=("inf", "2", "1"), help="its norm; inf by default")
    parser.add_argument("--clip", metavar="LOW,HIGH", type=ends, help="the range of data that the ball is cut to")


def number(text: str) -> float:
    """Read a number that is not negative."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return value


def ends(text: str) -> tuple[float, float]:
    """Read two numbers in order."""
    try:
        low, high = (float(word) for word in text.split(","))
    except ValueError:
        low, high = math.nan, math.nan
    if not low <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers LOW,HIGH, the first not above the second")
    return low, high


def norm(text: str) -> str:
    """Read the name of a norm, or two."""
    words = text.lower().split(",")
    if not 1 <= len(words) <= 2 or any(word not in ("inf", "2", "1") for word in words):
        raise argparse.ArgumentTypeError(f"there is no norm {text!r}; choose inf, 2 or 1, or two of them as in inf,1")
    return ",".join(words)


def output(text: str) -> str:
    """Read an index of an output, or two."""
    if not re.fullmatch(r"[0-9]+(-[0-9]+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither an index of an output nor a difference as in 3-7")
    return text


def positive(text: str) -> float:
    """Read a number above 0."""
    if not (value := number(text)) > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def indices(text: str) -> list[int]:
    """Read indices of inputs."""
    if not re.fullmatch(r"[0-9]+(,[0-9]+)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of indices as in 0,3,5")
    return [int(word) for word in text.split(",")]


def indices_or_all(text: str) -> list[int] | None:
    """Read indices of inputs; None means all."""
    return None if text == "all" else indices(text)


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
        The options by name; those of ``verify`` have ``model`` (one, or several by name), ``models``, ``spec`` and
        ``config`` beside what these came from.

    Raises:
        UsageError: the arguments have no meaning.
        SystemExit: ``--help`` and its like have been answered.
    """
    top = parser()
    options, rest = top.parse_known_args(joined(argv))
    unknown = [text for text in rest if text.startswith("-") or options.command != "verify"]
    if unknown:
        raise UsageError(f"unrecognized arguments: {' '.join(unknown)} (see verifier {options.command} --help)")
    if options.command == "verify":
        files = [*options.files, *map(Path, rest)]  # argparse leaves files behind options aside
        options.model, options.spec = named_files(files, options.network or [])
        options.models = [*options.model.values()] if isinstance(options.model, dict) else [options.model]
        limit = options.timeout if options.timeout is not None and math.isfinite(options.timeout) else None
        check_cluster(options)
        device = options.device if options.cluster is None else "cpu"
        attack, rounds = not options.no_attack, options.max_iterations
        options.config = Config(limit, device, options.threads, attack, options.seed, rounds, options.cluster)
    if options.command in ("lipschitz", "monotone"):
        check_region(options)
    return options


def joined(argv: Sequence[str]) -> list[str]:
    """Join ``--clip`` and its value, which argparse takes for an option if it begins with a minus sign."""
    found: list[str] = []
    for word in argv:
        if found and found[-1] == "--clip":
            found[-1] = f"--clip={word}"
        else:
            found.append(word)
    return found


def check_cluster(options: argparse.Namespace) -> None:
    """Refuse options of ``verify`` that have no meaning on a cluster.

    Raises:
        UsageError: with the option.
        ClusterError: Ray is not installed.
    """
    if options.cluster is None:
        return
    check_installed()
    if options.device == "cuda":
        raise UsageError("--cluster searches on CPUs: it does not go with --device cuda")
    if options.max_iterations is not None:
        raise UsageError("--max-iterations counts the rounds of one process: it does not go with --cluster")


def check_region(options: argparse.Namespace) -> None:
    """Refuse options that do not name one set of inputs.

    Raises:
        UsageError: with what is missing, or too much.
    """
    slopes = options.command == "lipschitz"
    if slopes and options.certify is not None:
        check_certify(options)
    radius = slopes and options.radius
    if options.spec is not None and options.center is not None:
        raise UsageError("--spec and --center both name a set of inputs: choose one")
    if radius and (options.center is None or options.eps is not None):
        raise UsageError("--radius looks for a radius about --center X.npy: name that, and no --eps")
    if radius and (options.inputs is not None or options.norm != "inf" or options.method != "auto"):
        raise UsageError("--radius goes with --ball, --clip, --output, --timeout, --seed, --plot and --json alone")
    if radius and options.output is not None and not options.output.isdecimal():
        raise UsageError("with --radius, --output is the label: one index")
    if options.center is not None and options.eps is None and not radius:
        raise UsageError("--center needs a radius: --eps E")
    for name in ("eps", "ball", "clip"):
        if options.center is None and getattr(options, name) is not None:
            raise UsageError(f"--{name} is about a ball: it needs --center X.npy")
    somewhere = options.spec is not None or options.center is not None
    if options.command == "monotone" and not somewhere:
        raise UsageError("a set of inputs is needed: --spec SPEC.vnnlib, or --center X.npy --eps E")
    if slopes and options.method == "clarke" and not somewhere:
        raise UsageError("--method clarke needs a set of inputs: --spec SPEC.vnnlib, or --center X.npy --eps E")
    if slopes and options.solver != "auto" and options.method != "sdp" and (options.method != "auto" or somewhere):
        raise UsageError("--solver is of semidefinite programs: it goes with --method sdp")


def check_certify(options: argparse.Namespace) -> None:
    """Refuse options that have no meaning for radii about labelled points.

    Raises:
        UsageError: with what goes.
    """
    others = (options.spec, options.center, options.eps, options.ball, options.clip, options.output, options.inputs)
    if any(option is not None for option in (*others, options.plot)) or options.radius or options.method == "clarke":
        raise UsageError("--certify goes with --norm, --method sdp or product, --solver, --timeout and --json alone")
    if options.norm not in ("2", "inf"):
        raise UsageError(f"--certify proves radii in the norms 2 and inf, not {options.norm}")
