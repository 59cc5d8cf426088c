"""The command ``verifier``: options, files, signals and exit codes. The only module that prints.

Start-up is part of every answer, so modules that take long to import are imported where they are needed.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from verifier import radii_report, report, runs, slopes_report
from verifier.errors import VerifierError
from verifier.interrupts import Interrupts
from verifier.memory import collect_again, keep_memory
from verifier.options import read
from verifier.runs import located
from verifier.supports import ANSWERS
from verifier.terminal import watching

if TYPE_CHECKING:
    from verifier.lipschitz.monotone import MonotoneResult
    from verifier.lipschitz.result import LipschitzResult
    from verifier.result import Progress, Result

STARTED = time.monotonic()
"""When the process began, nearly."""

DEFECT, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 1, 2, 128 + signal.SIGINT, 141
"""Exit codes besides 0; a process that is told to end (SIGTERM) leaves with 143 likewise."""


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
    models, spec, config = options.models, options.spec, options.config
    with Interrupts() as interrupts:
        report.check_outputs((options.json, options.counterexample), (*models, spec))
        report.check_inputs((spec, *models))
        report.check_folder(options.serialise_assignments)
        result = decide(options, started, interrupts)
        interrupts.ignore()
        spent = time.monotonic() - started
        print(report.answer(result, standard=options.network is not None), end="", flush=True)
        print(report.summary(result, spent), file=sys.stderr, flush=True)
        if options.counterexample is not None:
            report.write(options.counterexample, report.answer(result))
        if options.serialise_assignments is not None and result.counterexample is not None:
            from verifier.tensors import serialised

            report.write_all(options.serialise_assignments, serialised(result.counterexample, options.model), ".pb")
        if options.json is not None:
            report.write(options.json, report.to_json(report.record(result, spent, config, models, spec)))
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
        raise located(error, *options.models, options.spec) from error
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
        config = replace(config, timeout=max(config.timeout - progress.phases["start"], runs.LEAST_TIMEOUT))
    with watching(started, report.domains) as watch:
        return verify(options.model, spec, config, progress, watch)


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
        runs.check_files(options, options.plot)
        if options.plot is not None:
            from verifier import plot

            plot.check(options.plot)
        if options.radius:
            return radius_command(options, started, interrupts)
        if options.certify is not None:
            return certify_command(options, started, interrupts)
        graph, boxes = runs.network_and_boxes(options, interrupts)
        collect_again()
        found: list[LipschitzResult] = []
        for k, box in enumerate(boxes):
            left = runs.share(options.timeout, started, len(boxes) - k)
            with watching(time.monotonic(), slopes_report.progress) as show:
                found.append(runs.constant(options, graph, box, left, show, interrupts))
            if len(boxes) > 1:
                print(f"box {k + 1} of {len(boxes)}")
            print(slopes_report.lipschitz(found[-1]), flush=True)
            if interrupts.code:
                break
        interrupts.ignore()
        parts = [result.as_dict() for result in found]
        runs.keep(options.json, slopes_report.record(parts, "boxes", options, time.monotonic() - started))
        if options.plot is not None:
            report.write(options.plot, plot.brackets(found, options.plot))
    return interrupts.code


def radius_command(options: argparse.Namespace, started: float, interrupts: Interrupts) -> int:
    """Print how far an input can move."""
    with interrupts.held():
        from verifier import plot
        from verifier.regions import center_of
    center = center_of(options.center)
    with interrupts.held():
        from verifier.lipschitz import radius as _  # noqa: F401  (torch, which must not be cut short)
    collect_again()
    with watching(started, slopes_report.trial) as show:
        found = runs.radius(options, center, runs.share(options.timeout, started, 1), show, interrupts)
    interrupts.ignore()
    print(slopes_report.trials(found), slopes_report.radius(found), sep="\n", flush=True)
    runs.keep(options.json, slopes_report.record([found.as_dict()], "radii", options, time.monotonic() - started))
    if options.plot is not None:
        report.write(options.plot, plot.radius(found, options.plot))
    return interrupts.code


def certify_command(options: argparse.Namespace, started: float, interrupts: Interrupts) -> int:
    """Print how far labelled points can move."""
    with interrupts.held():
        from verifier.labelled import points_of
    x, y = points_of(options.certify)
    with interrupts.held():
        from verifier.lipschitz import certificates as _  # noqa: F401  (torch, which must not be cut short)
    collect_again()
    with watching(started, radii_report.progress) as show:
        found = runs.certified(options, x, y, runs.share(options.timeout, started, 1), show, interrupts)
    interrupts.ignore()
    print(radii_report.text(found), flush=True)
    runs.keep(options.json, radii_report.record(found, options, time.monotonic() - started))
    return interrupts.code


def monotone_command(options: argparse.Namespace, started: float) -> int:
    """Print a line for each input: how the output depends on it."""
    with Interrupts() as interrupts:
        runs.check_files(options)
        graph, boxes = runs.network_and_boxes(options, interrupts)
        collect_again()
        parts: list[dict[str, Any]] = []
        for k, box in enumerate(boxes):
            if len(boxes) > 1:
                print(f"box {k + 1} of {len(boxes)}", flush=True)

            def show(result: MonotoneResult, place: int = k) -> None:
                print(slopes_report.direction(result), flush=True)
                parts.append({"box": place, **result.as_dict()})

            runs.directions(options, graph, box, runs.share(options.timeout, started, len(boxes) - k), show, interrupts)
            if interrupts.code:
                break
        interrupts.ignore()
        runs.keep(options.json, slopes_report.record(parts, "results", options, time.monotonic() - started))
    return interrupts.code


def inspect_command(options: argparse.Namespace, started: float) -> int:
    """Print what a network consists of."""
    report.check_inputs((options.model,))
    from verifier.describe import describe

    collect_again()
    for text in describe(options.model):
        print(text, flush=True)
    return 0


def suite_command(options: argparse.Namespace, started: float) -> int:
    """Run many instances, each in a process of its own, which calls ``run_again``."""
    from verifier.suite import command

    collect_again()
    return command.suite(options, "verifier.cli:run_again", print)


def run_again(argv: Sequence[str]) -> int:
    """Run the command in a process that was forked for it, with all imports done."""
    keep_memory()
    return run(argv, time.monotonic())


def report_command(options: argparse.Namespace, started: float) -> int:
    """Write a page on what a suite has found."""
    from verifier.suite import command

    return command.page(options, print)


def supports_command(options: argparse.Namespace, started: float) -> int:
    """Print what is supported, one item a line."""
    for item in ANSWERS[options.feature][1]():
        print(item)
    return 0


COMMANDS = {
    "verify": verify_command,
    "bounds": bounds_command,
    "lipschitz": lipschitz_command,
    "monotone": monotone_command,
    "inspect": inspect_command,
    "suite": suite_command,
    "report": report_command,
    "supports": supports_command,
}


if __name__ == "__main__":
    main()
