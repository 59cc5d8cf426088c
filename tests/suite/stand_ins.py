"""Stand-ins for the command: what they do is written in the instance's property."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path


def run(argv: Sequence[str]) -> int:
    """Do what the first line of SPEC.vnnlib says: a verdict, or how to go wrong."""
    options = dict(pairwise(argv))
    spec = Path(argv[1] if "--network" in argv else argv[2])
    word, _, rest = spec.read_text().partition(" ")
    out, witness = Path(options["--json"]), Path(options["--counterexample"])

    def answer(verdict: str, reason: str | None = None, detail: str = "") -> None:
        out.write_text(json.dumps({"verdict": verdict, "reason": reason, "detail": detail}))
        witness.write_text("sat\n((X_0 0.0)\n(Y_0 1.0))\n" if verdict == "sat" else f"{verdict}\n")

    match word:
        case "unsat" | "sat":
            time.sleep(float(rest or 0))
            answer(word)
        case "unknown":
            answer("unknown", "gave up", "it was too hard")
        case "timeout":
            answer("unknown", "timeout")
        case "bare":  # sat without a witness
            answer("sat")
            witness.write_text("sat\n")
        case "complain":
            sys.stderr.write("error: net.onnx: this is no network\n")
            return 2
        case "late":  # a verdict, and then a crash
            answer("unsat")
            os.kill(os.getpid(), signal.SIGABRT)
        case "crash":
            ctypes.string_at(0)
        case "raise":
            raise RuntimeError("out of luck")
        case "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            Path(rest).write_text(str(os.getpid()))
            time.sleep(600)
        case "hog":
            answer("unsat")
            hoard = []
            for _ in range(1000):
                hoard.append(bytearray(os.urandom(1 << 20)) * 10)
                time.sleep(0.01)
    return 0
