"""What a process that ran ``verifier verify`` on an instance has found, and its files."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from verifier.suite.instances import Instance
from verifier.suite.journal import Entry, file_name
from verifier.suite.worker import Ended, describe

LONGEST_REASON = 300
GIGABYTE = 1 << 30


@dataclass(frozen=True, slots=True)
class Draft:
    """The files that a process writes, in a folder of its own until it has ended."""

    folder: Path

    @classmethod
    def within(cls, parent: Path) -> Draft:
        """Make a new folder."""
        parent.mkdir(parents=True, exist_ok=True)
        return cls(Path(tempfile.mkdtemp(dir=parent)))

    @property
    def json(self) -> Path:
        """What ``--json`` writes."""
        return self.folder / "result.json"

    @property
    def witness(self) -> Path:
        """What ``--counterexample`` writes."""
        return self.folder / "witness"

    @property
    def log(self) -> Path:
        """What is printed."""
        return self.folder / "log"

    def arguments(self, instance: Instance) -> list[str]:
        """Return the arguments of the command."""
        outputs = ["--json", str(self.json), "--counterexample", str(self.witness)]
        return ["verify", *instance.arguments, "--timeout", repr(instance.timeout), *outputs]

    def verdict(self) -> tuple[str, str]:
        """Return the result and its reason that a process left which ended well; anything amiss is an error."""
        try:
            data = json.loads(self.json.read_bytes())
            word, why = str(data["verdict"]), str(data["reason"] or "")
            detail = str(data["detail"])
        except (OSError, ValueError, KeyError, TypeError):
            return "error", "no result was written"
        if word not in ("unsat", "sat", "unknown"):
            return "error", f"not a verdict: {word!r}"
        if word == "sat" and not self._has_witness():
            return "error", "sat without a counterexample"
        if why == "timeout":
            return "timeout", detail
        return word, ": ".join(filter(None, (why, detail)))

    def last_words(self) -> str:
        """Return the last line that was printed."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def keep(self, entry: Entry, out: Path) -> None:
        """Move what is of use to its place, under ``json``, ``witnesses`` and ``logs``, and remove the folder."""
        name = file_name(entry.key)
        kept = {"json": (self.json, f"{name}.json"), "logs": (self.log, f"{name}.txt")}
        if entry.result == "sat":
            kept["witnesses"] = (self.witness, f"{name}.counterexample")
        for part, suffix in (("json", ".json"), ("logs", ".txt"), ("witnesses", ".counterexample")):
            (out / part / entry.benchmark / f"{name}{suffix}").unlink(missing_ok=True)  # of an earlier run
        for part, (source, target) in kept.items():
            if source.exists():
                folder = out / part / entry.benchmark
                folder.mkdir(parents=True, exist_ok=True)
                source.replace(folder / target)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _has_witness(self) -> bool:
        try:
            word, _, rest = self.witness.read_text().partition("\n")
        except OSError:
            return False
        return word == "sat" and bool(rest.strip())


def judge(instance: Instance, stamp: list[list[int]], ended: Ended, draft: Draft, memory: float) -> Entry:
    """Return the result of a process that has ended; only one that ended well can have a verdict."""
    if ended.broken == "time":
        result, reason = "timeout", "did not stop by itself, and was killed"
    elif ended.broken == "memory":
        result, reason = "unknown", f"memory: killed, above {memory / GIGABYTE:.3g} GB"
    elif ended.broken == "worker":
        result, reason = "error", "the worker of the cluster that ran it died, and so did the next one"
    elif ended.code != 0:
        words = draft.last_words() if ended.code > 0 else ""
        result, reason = "error", ": ".join(filter(None, (describe(ended.code), words)))
    else:
        result, reason = draft.verdict()
    return Entry(
        *instance.key,
        timeout=instance.timeout,
        stamp=stamp,
        expected=instance.expected,
        result=result,
        seconds=round(ended.seconds, 3),
        reason=" ".join(reason.split())[:LONGEST_REASON],
        code=ended.code,
    )
