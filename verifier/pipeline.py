"""The whole way from a model and a property to an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

import specs
from specs import Spec
from verifier.config import Config, seconds
from verifier.errors import ReplayError, UsageError
from verifier.export import as_onnx
from verifier.graph.join import Source
from verifier.machine import device_of
from verifier.ready import Ready
from verifier.result import Progress, Reason, Result, Verdict
from verifier.search.bab import out_of_memory
from verifier.solving import Run


def verify(
    model: Source | Mapping[str, Source] | nn.Module,
    spec: Spec | str | Path,
    config: Config = Config(),  # noqa: B008  (immutable)
    progress: Progress | None = None,
    watch: Callable[[Progress], None] | None = None,
    *,
    example_input: Any = None,
) -> Result:
    """Decide whether a network has a property.

    Args:
        model: path of an ONNX file, gzipped or not, a model in memory, or a torch module, which is exported; or several
            files or models by the names of networks.
        spec: the property, or the path of a VNNLIB file.
        config: options.
        progress: filled while the run goes on.
        watch: called with the progress a few times a second.
        example_input: of a torch module, see ``verifier.export``; a row of zeros by default.

    Returns:
        ``unsat`` if no point of the input set violates the property, ``sat`` with a counterexample that was replayed on
        the model, else ``unknown`` with a reason. Timeouts, lack of memory, Ctrl-C and a model that onnxruntime cannot
        replay are reasons, not exceptions.

    Raises:
        VerifierError, SpecError: the model or the property cannot be read, or they do not fit together.

    Property: sound in floating point; complete in the limit for ReLU networks, up to rounding.
    """
    begun = time.monotonic()
    progress = Progress() if progress is None else progress
    deadline = begun + seconds(config.timeout)
    run: Run | None = None
    if not isinstance(spec, (Spec, str, Path)):
        raise UsageError(f"a property is a specification or the path of a VNNLIB file, not {type(spec).__name__}")
    if isinstance(model, nn.Module):
        spec = specs.load(spec) if isinstance(spec, (str, Path)) else spec
    source = as_onnx(model, example_input, spec.n_inputs if isinstance(spec, Spec) else None)
    try:
        with progress.timed("read"):
            problem = Ready.read(source, spec, device_of(config))
        run = Run.of(problem, config, progress, deadline, watch)
        witness, still = run.solve()
        verdict = Verdict.SAT if witness is not None else Verdict.UNKNOWN if len(still) else Verdict.UNSAT
        reason, detail = run.why() if verdict is Verdict.UNKNOWN else (None, "")
        return Result(verdict, reason, time.monotonic() - begun, progress, witness, detail, tuple(run.leaves))
    except TimeoutError:
        reason, detail = (Reason.TIMEOUT, "") if run is None else run.why()
    except KeyboardInterrupt:
        reason, detail = Reason.INTERRUPTED, ""
    except ReplayError as error:
        reason, detail = Reason.GAVE_UP, f"there is a likely counterexample, but {error}"
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        reason, detail = Reason.MEMORY, str(error).splitlines()[0] if str(error) else ""
    return Result(Verdict.UNKNOWN, reason, time.monotonic() - begun, progress, None, detail)
