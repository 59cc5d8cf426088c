"""The command ``verifier``: options, files, signals and exit codes. The only module that prints.

Start-up is part of every answer, so modules that take long to import are imported where they are needed.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from verifier import report, slopes_report
from verifier.errors import VerifierError
from verifier.interrupts import Interrupts
from verifier.options import read

if TYPE_CHECKING:
    from specs import InputSet
    from verifier.graph.graph import Graph
    from verifier.lipschitz.result import LipschitzResult, Step
    from verifier.result import Progress, Result

STARTED = time.monotonic()
"""When the process began, nearly."""

DEFECT, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 1, 2, 128 + signal.SIGINT, 141
"""Exit codes besides 0; a process that is told to end (SIGTERM) leaves with 143 likewise."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_BLOCK, KEPT_MEMORY = 1 << 25, 1 << 30
"""What the GNU C library calls two settings, and their values: blocks that are reused, and free memory that is kept."""

LEAST_TIMEOUT = 1e-3
"""Seconds that a run gets where start-up used up the time limit."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: its arguments; without them those of the process are taken, and the process ends here.

    Returns:
        The exit code.
    """
    if argv is None:
        gc.disable()  # until the imports are done, see collect_again
        keep_memory()
        leave(run(sys.argv[1:], STARTED))
    return run(argv, time.monotonic())


def leave(code: int) -> NoReturn:
    """End the process at once: taking the interpreter apart takes half a second once torch is loaded."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def keep_memory() -> None:
    """Tell the C library not to give large blocks back, where it can be told: each would come back as zeroed pages."""
    with suppress(OSError, AttributeError, ImportError, TypeError):
        import ctypes

        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK)
        library.mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY)


def collect_again() -> None:
    """Switch the garbage collector on again, if ``main`` switched it off; what was imported it never looks at."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def run(argv: Sequence[str], started: float) -> int:
    """Read the arguments, run what they say, and turn errors into one line and an exit code."""
    try:
        options = read(argv)
        return COMMANDS[options.command](options, started)
    except SystemExit as done:  # argparse, after --help and its like
        return int(done.code or 0)
    except KeyboardInterrupt:
        return complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001  the last resort: one line rather than a traceback
        if "--debug" in argv or os.environ.get("VERIFIER_DEBUG") == "1":
            import traceback

            traceback.print_exc()
        from specs import SpecError

        if isinstance(error, (VerifierError, SpecError)):
            return complain(str(error), BAD_INPUT)
        hint = "a defect of the verifier; VERIFIER_DEBUG=1 shows where"
        return complain(f"{type(error).__name__}: {error} ({hint})", DEFECT)


def complain(message: str, code: int) -> int:
    """Print an error in one line and return the exit code."""
    print("error:", " ".join(message.splitlines()), file=sys.stderr, flush=True)
    return code


def verify_command(options: argparse.Namespace, started: float) -> int:
    """Decide a property; the verdict goes to stdout, all else to stderr."""
    model, spec, config = options.model, options.spec, options.config
    with Interrupts() as interrupts:
        report.check_outputs((options.json, options.counterexample), (model, spec))
        report.check_inputs((spec, model))
        result = decide(options, started, interrupts)
        interrupts.ignore()
        spent = time.monotonic() - started
        print(report.answer(result, standard=options.network is not None), end="", flush=True)
        print(report.summary(result, spent), file=sys.stderr, flush=True)
        if options.counterexample is not None:
            report.write(options.counterexample, report.answer(result))
        if options.json is not None:
            report.write(options.json, report.to_json(report.record(result, spent, config, model, spec)))
    return interrupts.code if report.word(result) == "unknown" else 0


def decide(options: argparse.Namespace, started: float, interrupts: Interrupts) -> Result:
    """Run the verifier; whatever ends it early is a result, too."""
    with suppress(KeyboardInterrupt), interrupts.held():  # it comes again
        from verifier.result import Progress, Reason, Result, Verdict

    progress = Progress()
    try:
        return start(options, started, progress, interrupts)
    except KeyboardInterrupt:
        reason = Reason.INTERRUPTED
    except MemoryError:
        reason = Reason.MEMORY
    except VerifierError as error:
        raise located(error, options.model, options.spec) from error
    except Exception:
        if not interrupts.code:
            raise
        reason = Reason.INTERRUPTED  # what an interrupt cuts short may fail in its own way
    return Result(Verdict.UNKNOWN, reason, time.monotonic() - started, progress)


def start(options: argparse.Namespace, started: float, progress: Progress, interrupts: Interrupts) -> Result:
    """Read the property, which is quick to fail, then import the rest and verify in the time that is left."""
    with interrupts.held():
        from dataclasses import replace

        import specs
    spec, config = specs.load(options.spec), options.config
    with interrupts.held():
        from verifier.pipeline import verify
    collect_again()
    progress.phases["start"] = time.monotonic() - started
    if config.timeout is not None:
        config = replace(config, timeout=max(config.timeout - progress.phases["start"], LEAST_TIMEOUT))
    with watching(started, report.domains) as watch:
        return verify(options.model, spec, config, progress, watch)


@contextmanager
def watching(started: float, describe: Callable[[Any], str]) -> Iterator[Callable[[Any], None] | None]:
    """Show a line on the terminal that keeps up with the search, if stderr is one."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    with Live(
        console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
    ) as live:

        def show(progress: Any) -> None:
            live.update(Text(f"{time.monotonic() - started:.0f} s: {describe(progress)}"), refresh=True)

        yield show


def bounds_command(options: argparse.Namespace, started: float) -> int:
    """Print bounds of the outputs."""
    report.check_outputs((options.json,), (options.model, options.spec))
    report.check_inputs((options.spec, options.model))
    import specs

    loaded = specs.load(options.spec)
    from verifier.api import output_bounds

    collect_again()
    before = time.monotonic()
    try:
        found = output_bounds(options.model, loaded, options.method)
    except VerifierError as error:
        raise located(error, options.model, options.spec) from error
    spent = time.monotonic() - before
    for k, part in enumerate(found):
        print(f"box {k + 1} of {len(found)}", report.table(part), sep="\n")
    print(f"{spent:.3f} seconds, {options.method}", flush=True)
    if options.json is not None:
        text = report.to_json(report.bounds_record(found, options.method, spent, options.model, options.spec))
        report.write(options.json, text)
    return 0


def lipschitz_command(options: argparse.Namespace, started: float) -> int:
    """Bound Lipschitz constants, or find a radius; whatever ends a run early, the best so far is printed."""
    with Interrupts() as interrupts:
        check_files(options, options.plot)
        if options.plot is not None:
            from verifier import plot

            plot.check(options.plot)
        if options.radius:
            return radius_command(options, started, interrupts)
        graph, boxes = network_and_boxes(options, interrupts)
        found: list[LipschitzResult] = []
        for k, box in enumerate(boxes):
            left = options.timeout - (time.monotonic() - started)
            found.append(constant(options, graph, box, max(left / (len(boxes) - k), LEAST_TIMEOUT), interrupts))
            if len(boxes) > 1:
                print(f"box {k + 1} of {len(boxes)}")
            print(slopes_report.lipschitz(found[-1]), flush=True)
            if interrupts.code:
                break
        interrupts.ignore()
        if options.json is not None:
            parts = [result.as_dict() for result in found]
            data = slopes_report.record(parts, "boxes", options, time.monotonic() - started)
            report.write(options.json, report.to_json(data))
        if options.plot is not None:
            report.write(options.plot, plot.brackets(found, options.plot))
    return interrupts.code


def constant(
    options: argparse.Namespace, graph: Graph, box: InputSet | None, timeout: float, interrupts: Interrupts
) -> LipschitzResult:
    """Bound one constant; what an interrupt makes fail still leaves the steps before it."""
    from verifier.lipschitz.api import lipschitz
    from verifier.lipschitz.result import LipschitzResult

    steps: list[Step] = []
    before = time.monotonic()
    with watching(before, slopes_report.progress) as show:

        def watch(step: Step) -> None:
            steps.append(step)
            if show is not None:
                show(step)

        extra = {"method": options.method, "inputs": options.inputs, "gap": options.gap, "seed": options.seed}
        try:
            return lipschitz(graph, box, options.norm, options.output, timeout=timeout, watch=watch, **extra)
        except VerifierError as error:
            raise located(error, options.model, options.spec or options.center) from error
        except (Exception, KeyboardInterrupt):
            if not interrupts.code:
                raise
    spent, output = time.monotonic() - before, options.output or "all"
    if not steps:
        return LipschitzResult(math.inf, None, options.norm, output, "none", spent, False, "interrupted")
    upper, lower, method = steps[-1].upper, steps[-1].lower, steps[-1].method
    ends = (upper, lower, options.norm, output, method, spent, False, "interrupted")
    return LipschitzResult(*ends, steps=tuple(steps))


def radius_command(options: argparse.Namespace, started: float, interrupts: Interrupts) -> int:
    """Print how far an input can move."""
    with interrupts.held():
        from verifier import plot
        from verifier.lipschitz.radius import robust_radius
        from verifier.regions import center_of
    center = center_of(options.center)
    collect_again()
    label, ball = None if options.output is None else int(options.output), options.ball or "inf"
    left = max(options.timeout - (time.monotonic() - started), LEAST_TIMEOUT)
    extra = {"timeout": left, "seed": options.seed}
    try:
        with watching(started, slopes_report.trial) as watch:
            found = robust_radius(options.model, center, label, ball, options.clip, watch=watch, **extra)
    except VerifierError as error:
        raise located(error, options.model, options.center) from error
    interrupts.ignore()
    print(slopes_report.trials(found), slopes_report.radius(found), sep="\n", flush=True)
    if options.json is not None:
        data = slopes_report.record([found.as_dict()], "radii", options, time.monotonic() - started)
        report.write(options.json, report.to_json(data))
    if options.plot is not None:
        report.write(options.plot, plot.radius(found, options.plot))
    return interrupts.code


def monotone_command(options: argparse.Namespace, started: float) -> int:
    """Print a line for each input: how the output depends on it."""
    with Interrupts() as interrupts:
        check_files(options)
        graph, boxes = network_and_boxes(options, interrupts)
        from verifier.lipschitz.monotone import MonotoneResult, monotone_inputs

        parts: list[dict[str, Any]] = []
        for k, box in enumerate(boxes):
            if len(boxes) > 1:
                print(f"box {k + 1} of {len(boxes)}", flush=True)

            def watch(result: MonotoneResult, place: int = k) -> None:
                print(slopes_report.direction(result), flush=True)
                parts.append({"box": place, **result.as_dict()})

            left = (options.timeout - (time.monotonic() - started)) / (len(boxes) - k)
            extra = {"timeout": max(left, LEAST_TIMEOUT), "seed": options.seed}
            try:
                monotone_inputs(graph, box, options.input, options.output, watch=watch, **extra)
            except VerifierError as error:
                raise located(error, options.model, options.spec or options.center) from error
            if interrupts.code:
                break
        interrupts.ignore()
        if options.json is not None:
            data = slopes_report.record(parts, "results", options, time.monotonic() - started)
            report.write(options.json, report.to_json(data))
    return interrupts.code


def check_files(options: argparse.Namespace, *outputs: Path | None) -> None:
    """Refuse files that cannot be read or written."""
    given = [path for path in (options.spec, options.center, options.model) if path is not None]
    report.check_outputs((options.json, *outputs), given)
    report.check_inputs(given)


def network_and_boxes(options: argparse.Namespace, interrupts: Interrupts) -> tuple[Graph, list[Any]]:
    """Read the set of inputs, which is quick to fail, then the network; return it and the boxes, or None for all."""
    with interrupts.held():
        from verifier.regions import region_of
    region = region_of(options)
    with interrupts.held():
        from specs import Spec
        from verifier.api import distinct_boxes
        from verifier.graph.onnx_import import load
    collect_again()
    try:
        graph = load(options.model)
        return graph, distinct_boxes(region, graph) if isinstance(region, Spec) else [region]
    except VerifierError as error:
        raise located(error, options.model, options.spec or options.center) from error


def inspect_command(options: argparse.Namespace, started: float) -> int:
    """Print what a network consists of."""
    report.check_inputs((options.model,))
    from verifier.describe import describe

    collect_again()
    for text in describe(options.model):
        print(text, flush=True)
    return 0


def located(error: VerifierError, model: Path, spec: Path | None) -> VerifierError:
    """Name the files in an error that names neither."""
    files = [str(path) for path in (model, spec) if path is not None]
    if any(name in str(error) for name in files):
        return error
    return type(error)(f"{', '.join(files)}: {error}")


COMMANDS = {
    "verify": verify_command,
    "bounds": bounds_command,
    "lipschitz": lipschitz_command,
    "monotone": monotone_command,
    "inspect": inspect_command,
}


if __name__ == "__main__":
    main()
