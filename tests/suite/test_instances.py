"""What tables of instances say, in all their forms, and what is wrong with those that say nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from verifier.errors import UsageError
from verifier.suite.instances import Key, read

EXAMPLES = Path(__file__).resolve().parents[2] / "vnnlib_examples"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two benchmarks, each with two networks and two properties, one of them packed."""
    for benchmark in ("a", "b"):
        (tmp_path / benchmark).mkdir()
        for name in ("f.onnx", "g.onnx.gz", "1.vnnlib", "2.vnnlib.gz"):
            (tmp_path / benchmark / name).touch()
    (tmp_path / "a" / "instances.csv").write_text("f.onnx,1.vnnlib,10\ng.onnx,2.vnnlib,2.5\n")
    (tmp_path / "b" / "instances.csv").write_text("\"[('f', 'f.onnx'), ('g', 'g.onnx')]\",1.vnnlib,7\n\n")
    return tmp_path


def test_one_benchmark(folder: Path) -> None:
    first, second = read(folder / "a")
    assert first.key == Key("a", "f.onnx", "1.vnnlib")
    assert (first.timeout, second.timeout) == (10.0, 2.5)
    assert first.expected == "unknown"
    assert [path.name for path in second.files] == ["g.onnx.gz", "2.vnnlib.gz"]
    assert read(folder / "a" / "instances.csv") == [first, second]


def test_a_folder_of_benchmarks_and_a_choice(folder: Path) -> None:
    assert [one.key.benchmark for one in read(folder)] == ["a", "a", "b"]
    assert [one.key.benchmark for one in read(folder, benchmarks=["b"])] == ["b"]
    assert {one.timeout for one in read(folder, 3.0)} == {3.0}
    with pytest.raises(UsageError, match=r"no benchmark c \(there are: a, b\)"):
        read(folder, benchmarks=["c"])


def test_several_networks(folder: Path) -> None:
    (one,) = read(folder / "b")
    assert [(name, path.name) for name, path in one.networks] == [("f", "f.onnx"), ("g", "g.onnx.gz")]


def test_the_truth_is_set_beside_the_instances(folder: Path) -> None:
    (folder / "truth.csv").write_text("benchmark,onnx,vnnlib,expected,tools,timeout\na,g.onnx,2.vnnlib,sat,3,99\n")
    assert [(one.expected, one.timeout) for one in read(folder)] == [("unknown", 10), ("sat", 2.5), ("unknown", 7)]
    (only,) = read(folder / "truth.csv")
    assert (only.key, only.expected, only.timeout) == (Key("a", "g.onnx", "2.vnnlib"), "sat", 99.0)
    for part in "ab":
        (folder / part / "instances.csv").unlink()
    assert read(folder) == [only]


def test_the_shipped_examples() -> None:
    found = read(EXAMPLES / "expected.csv", 20.0)
    assert {one.expected for one in found} == {"sat", "unsat"}
    assert {one.key.benchmark for one in found} == {"vnnlib_examples"}
    with pytest.raises(UsageError, match=r"expected.csv, line 2: there is no column timeout: --timeout S is needed"):
        read(EXAMPLES / "expected.csv")


def test_an_instance_that_is_named_twice_is_run_once(folder: Path) -> None:
    (folder / "a" / "instances.csv").write_text("f.onnx,1.vnnlib,10\nf.onnx,2.vnnlib,10\nf.onnx,1.vnnlib,10\n")
    assert [one.key.vnnlib for one in read(folder / "a")] == ["1.vnnlib", "2.vnnlib"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f.onnx,1.vnnlib", "line 1: 2 fields, expected 3"),
        ("f.onnx,1.vnnlib,soon", "line 1: 'soon' is not a number of seconds"),
        ("f.onnx,1.vnnlib,-1", "line 1: '-1' is not a number of seconds"),
        ("f.onnx,1.vnnlib,1\nf.onnx,3.vnnlib,1", r"line 2: there is no file .*3.vnnlib \(nor 3.vnnlib.gz\)"),
        ("\"[('f', 3\",1.vnnlib,1", "line 1: .* is not a list of networks"),
        ("[],1.vnnlib,1", "line 1: .* is not a list of networks"),
        ("onnx,vnnlib,expected\nf.onnx,1.vnnlib,holds", "line 2: the expected verdict is 'holds'"),
        ("\xff", "instances.csv: is not a CSV file"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, text: str, message: str) -> None:
    (folder / "a" / "instances.csv").write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match=message):
        read(folder / "a")


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither instances.csv, nor truth.csv, nor folders"):
        read(tmp_path)
    with pytest.raises(UsageError, match=r"none.csv: cannot be read: No such file"):
        read(tmp_path / "none.csv")
