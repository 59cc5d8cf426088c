"""Verifies all examples and compares with expected.csv: two by the command line, then each by the library.

Exit code: 0 if all verdicts are as expected, else 1.
"""

import ast
import csv
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

import specs
from verifier import Config, verify

HERE = Path(__file__).resolve().parent
LIMIT = 20.0  # seconds an example


def read_examples() -> list[tuple[str, str, str]]:
    """Network, property and expected verdict; files relative to this folder."""
    with (HERE / "expected.csv").open(newline="", encoding="utf-8") as file:
        return [(line["onnx"], line["vnnlib"], line["expected"]) for line in csv.DictReader(file)]


def by_command(*files: str) -> str:
    """The first line that the command prints."""
    command = [str(Path(sys.executable).parent / "verifier"), "verify", *files, "--timeout", str(LIMIT)]
    print(f"$ verifier {' '.join(command[1:])}", flush=True)
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    print("\n".join(done.stdout.splitlines()[:4]))
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
    return done.stdout.partition("\n")[0]


def by_standard(onnx: str, vnnlib: str) -> str:
    """The first line that the command prints in the VNNLIB standard's form."""
    named = ast.literal_eval(onnx) if onnx.startswith("[") else [("f", onnx)]
    return by_command(vnnlib, *(word for name, path in named for word in ("--network", f"{name}={path}")))


def by_library(onnx: str, vnnlib: str) -> str:
    """The verdict as a word."""
    named = ast.literal_eval(onnx) if onnx.startswith("[") else None
    model = str(HERE / onnx) if named is None else {name: HERE / path for name, path in named}
    result = verify(model, specs.load(HERE / vnnlib), Config(timeout=LIMIT))
    return str(result.verdict.value)


def main() -> int:
    """Print the table."""
    examples = read_examples()
    onnx, vnnlib, expected = examples[0]
    differences = int(by_command(onnx, vnnlib) != expected)
    onnx, vnnlib, expected = next(example for example in examples if example[0].startswith("["))
    differences += int(by_standard(onnx, vnnlib) != expected)
    table = Table("property", "expected", "verdict", "seconds", title="Examples, by the library")
    start = time.monotonic()
    for onnx, vnnlib, expected in examples:
        before = time.monotonic()
        verdict = by_library(onnx, vnnlib)
        differs = verdict != expected
        differences += differs
        seconds = f"{time.monotonic() - before:.2f}"
        table.add_row(Path(vnnlib).stem, expected, verdict, seconds, style="bold red" if differs else None)
    Console().print(table)
    total = time.monotonic() - start
    print(f"{len(examples)} examples in {total:.1f} s, {differences} different from what was expected")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
