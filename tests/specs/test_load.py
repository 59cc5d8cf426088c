"""Files: how they are opened, and those of the public benchmarks."""

import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest

from specs import SpecError, load

TEXT = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= 0 X_0 1))(assert (<= Y_0 0))"
BENCHMARKS = Path(os.environ.get("VERIFIER_BENCHMARKS", Path(__file__).parents[3] / "shared" / "benchmarks"))
needs_benchmarks = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmark files are not here")


@pytest.mark.parametrize(
    "data",
    [TEXT.encode(), gzip.compress(TEXT.encode(), mtime=0), b"\xef\xbb\xbf" + TEXT.replace(")(", ")\r\n(").encode()],
)
def test_the_content_decides_how_a_file_is_read(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "property"
    path.write_bytes(data)
    assert len(load(path).cases) == len(load(str(path)).cases) == 1


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", ":1:1: the file is empty"),
        (b"\x1f\x8bnonsense", ": damaged gzip file"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-9], ": damaged gzip file"),
        (gzip.compress(TEXT.encode(), mtime=0)[:20] + b"\0" * 60, ": damaged gzip file"),
        (b"(assert \xff)", ": not a text in UTF-8"),
        (b"; new\n (vnnlib-version <2.0>)", ":2:24: no network is declared"),
        (b"; vnnlib-version\n(push)", ":2:2: unknown command push"),
    ],
)
def test_bad_files(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "bad.vnnlib"
    path.write_bytes(data)
    with pytest.raises(SpecError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name, message", [("missing", "No such file"), ("", "Is a directory")])
def test_paths_that_are_no_files(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load(tmp_path / name)


def files(most: int | None) -> list[Path]:
    """Up to ``most`` files of each benchmark, evenly spread over them."""
    found: list[Path] = []
    for folder in sorted(BENCHMARKS.glob("*/vnnlib")):
        paths = sorted(folder.rglob("*.gz"))
        found += paths[:: max(1, -(-len(paths) // (most or len(paths))))] if paths else []
    return found


def check(path: Path) -> None:
    """The file parses; if it only bounds single inputs at its top level, the box is what another reader finds."""
    spec = load(path)
    assert spec.cases
    text = gzip.decompress(path.read_bytes()).decode()
    assert (spec.n_inputs, spec.n_outputs) == (text.count("const X_"), text.count("const Y_"))
    limits = {">=": np.full(spec.n_inputs, -np.inf), "<=": np.full(spec.n_inputs, np.inf)}
    for sign, index, value in re.findall(r"^\(assert \(([<>]=) X_(\d+) (\S+)\)\)", text, re.MULTILINE):
        limits[sign][int(index)] = float(value)
    for case in spec.cases if np.isfinite(list(limits.values())).all() else ():
        assert (case.inputs.lower >= limits[">="]).all()
        assert (case.inputs.upper <= limits["<="]).all()
    if "or" not in re.sub(r";.*", "", text):
        np.testing.assert_array_equal(spec.cases[0].inputs.lower, limits[">="])
        np.testing.assert_array_equal(spec.cases[0].inputs.upper, limits["<="])


@needs_benchmarks
def test_acasxu_1_by_hand() -> None:
    (case,) = load(BENCHMARKS / "acasxu/vnnlib/prop_1.vnnlib.gz").cases
    assert case.inputs.lower.tolist() == [0.6, -0.5, -0.5, 0.45, -0.5]
    assert case.inputs.upper.tolist() == [0.679857769, 0.5, 0.5, 0.5, -0.45]
    assert (case.rows.y.tolist(), case.rows.bound.tolist()) == ([[-1, 0, 0, 0, 0]], [-3.991125645861615])


@needs_benchmarks
def test_acasxu_6_by_hand() -> None:
    cases = load(BENCHMARKS / "acasxu/vnnlib/prop_6.vnnlib.gz").cases
    assert [case.inputs.lower[1] for case in cases] == [0.11140846] * 4 + [-0.499999896] * 4
    assert len({id(case.inputs) for case in cases}) == 2
    assert [case.rows.y[0].tolist().index(1) for case in cases] == [1, 2, 3, 4] * 2
    assert all(case.rows.y[0, 0] == -1 for case in cases)


@needs_benchmarks
def test_lsnc_15_by_hand() -> None:
    cases = load(BENCHMARKS / "lsnc/vnnlib/quadrotor2d_output_15.vnnlib.gz").cases
    assert len(cases) == 17
    assert all(case.rows.bound[0] == 0.045 and case.rows.y[0].tolist() == [0, 1] + [0] * 8 for case in cases)
    assert cases[2].rows.y[1].tolist() == [0, 0, -1] + [0] * 7
    assert cases[2].rows.bound[1] == -0.10000099986791611


@needs_benchmarks
def test_a_sample_of_the_benchmarks() -> None:
    for path in files(most=6):
        check(path)


@needs_benchmarks
@pytest.mark.slow
def test_all_benchmarks() -> None:
    for path in files(most=None):
        check(path)
