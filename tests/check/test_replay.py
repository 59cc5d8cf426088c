"""Running model files by onnxruntime."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from specs import robustness
from verifier import Config, Verdict, verify
from verifier.check.replay import Replay
from verifier.errors import ModelError


def model(kind: int = TensorProto.FLOAT, batch: str | int = 1) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["a"], ["r"]), helper.make_node("Neg", ["b"], ["n"])],
        "test",
        [helper.make_tensor_value_info("a", kind, (batch, 2)), helper.make_tensor_value_info("b", kind, (2, 1))],
        [helper.make_tensor_value_info("r", kind, (batch, 2)), helper.make_tensor_value_info("n", kind, (2, 1))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_inputs_and_outputs_are_flat(kind: int, batch: str | int) -> None:
    y = Replay(model(kind, batch)).run(np.array([-1.0, 2.0, 3.0, -4.0]))
    assert y.dtype == np.float64
    assert y.tolist() == [0, 2, -3, 4]


def test_files_packed_or_not(tmp_path: Path) -> None:
    plain, packed = tmp_path / "net.onnx", tmp_path / "net.onnx.gz"
    plain.write_bytes(model().SerializeToString())
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, str(packed)):
        assert Replay(path).run(np.ones(4)).tolist() == [1, 1, -1, -1]


def test_errors_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="takes 4 numbers, not 3"):
        Replay(model()).run(np.ones(3))
    for data in (b"", b"nonsense"):
        path = tmp_path / "net.onnx"
        path.write_bytes(data)
        with pytest.raises(ModelError, match=r"^\S*net.onnx: "):
            Replay(path).run(np.ones(4))
    with pytest.raises(ModelError, match=r"none.onnx"):
        Replay(tmp_path / "none.onnx").run(np.ones(4))


def test_a_counterexample_that_cannot_be_replayed_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replay, "_model", lambda self: b"nonsense")
    result = verify(model(), robustness(np.zeros(4), 1.0, 0, 4), Config(timeout=10))
    assert result.verdict is Verdict.UNKNOWN
    assert "counterexample" in result.detail and "onnxruntime" in result.detail
