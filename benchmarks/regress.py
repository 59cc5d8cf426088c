"""Runs again what was solved before: no verdict may have changed, and at least 98 % must still be solved.

solved.csv beside this script records solved instances of SETDIR (benchmark,onnx,vnnlib,verdict,seconds). Each gets four
times the recorded seconds, but at least 20. Results are appended to --out after each instance; a later run with the
same --out goes on from there. With --record RESULTS.csv, what a run of vnncomp.py or of this script solved is entered
into solved.csv instead.

Exit code: 0; 1 if a verdict changed or contradicts the truth, or too few are solved; 2 for wrong usage.
"""

import argparse
import csv
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vnncomp import Runner, find_command, import_seconds, run_all
from vnncomp_table import Row, read_rows, read_truth

from verifier.errors import UsageError
from verifier.suite.instances import DECIDED, Instance, Key, Record, resolve

SOLVED = Path(__file__).parent / "solved.csv"
COLUMNS = ("benchmark", "onnx", "vnnlib", "verdict", "seconds")
SHARE = 0.98
LEAST_LIMIT, FACTOR = 20.0, 4.0


@dataclass(frozen=True, slots=True)
class Solved:
    """A recorded instance."""

    key: Key
    verdict: str
    seconds: float

    @property
    def limit(self) -> float:
        """Seconds that it gets."""
        return max(LEAST_LIMIT, FACTOR * self.seconds)

    def instance(self, setdir: Path) -> Instance:
        """What to run.

        Raises:
            UsageError: it is not in the set.
        """
        return resolve(Record(self.key, self.limit, "unknown", setdir / self.key.benchmark, str(SOLVED)), None)


def read_solved(path: Path) -> dict[Key, Solved]:
    """The recorded instances, none where there is no file."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    keys = [Key(row["benchmark"], row["onnx"], row["vnnlib"]) for row in rows]
    return {key: Solved(key, row["verdict"], float(row["seconds"])) for key, row in zip(keys, rows, strict=True)}


def record(path: Path, results: Iterable[Row]) -> int:
    """Enter what was solved, with the seconds of the latest run; return how many instances are recorded now."""
    known = read_solved(path)
    for row in results:
        if row.solved:
            known[row.key] = Solved(row.key, row.verdict, row.seconds)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for key in sorted(known):
            writer.writerow([*key, known[key].verdict, f"{known[key].seconds:.1f}"])
    return len(known)


def judge(known: dict[Key, Solved], rows: Sequence[Row]) -> tuple[list[str], bool]:
    """Say what became of the recorded instances; the second value tells whether that will do."""
    lines, solved, changed = [], 0, 0
    for row in rows:
        before = known[row.key].verdict
        if row.wrong or (row.verdict in DECIDED and row.verdict != before):
            changed += 1
            lines.append(f"CHANGED {','.join(row.key)}: {before} before, {row.verdict} now")
        elif row.solved:
            solved += 1
        else:
            lines.append(f"lost {','.join(row.key)}: {row.verdict} after {row.seconds:.1f} s {row.note}".rstrip())
    enough = solved >= SHARE * len(rows)
    lines.append(f"{solved} of {len(rows)} solved again, {changed} changed, {len(known) - len(rows)} not run")
    return lines, enough and not changed


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("setdir", type=Path, metavar="SETDIR")
    parser.add_argument("--minutes", type=float, default=float("inf"), metavar="M", help="start no instance after M")
    parser.add_argument("--out", type=Path, default=Path("regress.csv"), metavar="FILE", help="default: regress.csv")
    parser.add_argument("--record", type=Path, metavar="FILE", help="enter what is solved there, and run nothing")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, or record."""
    options = parse(arguments)
    if options.record is not None:
        print(f"{record(SOLVED, read_rows(options.record))} instances recorded")
        return 0
    known = read_solved(SOLVED)
    done = {row.key for row in read_rows(options.out)}
    try:
        command = find_command()
        waiting = [one.instance(options.setdir) for one in known.values() if one.key not in done]
    except (UsageError, ValueError) as error:
        print(f"regress.py: {error}", file=sys.stderr)
        return 2
    until = time.monotonic() + 60 * options.minutes
    if waiting:
        truth = read_truth(options.setdir / "truth.csv")
        runner = Runner((command,), (), import_seconds(), truth)
        for instance in waiting:
            if time.monotonic() > until:
                break
            run_all(runner, [instance], 1, options.out)
    lines, passed = judge(known, [row for row in read_rows(options.out) if row.key in known])
    print("\n".join(lines))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
