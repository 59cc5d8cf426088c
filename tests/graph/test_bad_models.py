"""What goes wrong with a model file ends in one clear line that starts with the file's name."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from verifier.errors import ModelError, UnsupportedError
from verifier.graph.onnx_import import load


def good() -> onnx.ModelProto:
    weight = np.ones((3, 2), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"], name="product"), helper.make_node("Relu", ["h"], ["y"])],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 2))],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def assert_one_line(path: Path | str, kind: type[ModelError], *words: str) -> None:
    with pytest.raises(kind) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for word in words:
        assert word in message


def test_the_good_model_is_good(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(good().SerializeToString())
    assert load(path).n_outputs == 2
    packed = tmp_path / "net.gz"
    half = len(path.read_bytes()) // 2
    packed.write_bytes(gzip.compress(path.read_bytes()[:half]) + gzip.compress(path.read_bytes()[half:]))
    assert load(str(packed)).n_outputs == 2


WHOLE = good().SerializeToString()
FILES = {
    "empty": (b"", "is empty"),
    "text": (b"this is not a network at all", "not an ONNX model"),
    "cut": (WHOLE[: len(WHOLE) // 2], "not an ONNX model"),
    "gzip-of-nothing": (gzip.compress(b""), "is empty"),
    "gzip-cut": (gzip.compress(WHOLE)[:-12], "gzip"),
    "gzip-damaged": (gzip.compress(WHOLE)[:20] + b"\0\1\2" * 20, "gzip"),
    "gzip-checksum": (gzip.compress(WHOLE)[:-8] + b"12345678", "gzip"),
}


@pytest.mark.parametrize("case", FILES)
def test_damaged_files(case: str, tmp_path: Path) -> None:
    data, words = FILES[case]
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    assert_one_line(path, ModelError, words)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    assert_one_line(tmp_path / "none.onnx", ModelError, "No such file")
    assert_one_line(tmp_path, ModelError, "directory")


def no_inputs(model: onnx.ModelProto) -> None:
    del model.graph.input[:]
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 3), dtype=np.float32), "x"))


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type = "Det"


def other_domain(model: onnx.ModelProto) -> None:
    model.graph.node[1].domain = "com.example"


def old_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 6


def new_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 22


def no_opset(model: onnx.ModelProto) -> None:
    del model.opset_import[:]


def empty_graph(model: onnx.ModelProto) -> None:
    model.ClearField("graph")


def no_outputs(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


def free_dimension(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "width"


def no_shape(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


def integer_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64


def weight_of(value: float) -> Callable[[onnx.ModelProto], None]:
    def put(model: onnx.ModelProto) -> None:
        weight = np.ones((3, 2), dtype=np.float32)
        weight[1, 1] = value
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))

    return put


def short_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = b"\0\0\0\0"


def wrong_shape(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [2, 3]


def undefined_operand(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[1] = "nothing"


def out_of_order(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def defined_twice(model: onnx.ModelProto) -> None:
    model.graph.node[1].output[0] = "h"
    model.graph.output[0].name = "h"


def constant_output(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[0] = "w"


def unknown_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "nothing"


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def product(model: onnx.ModelProto) -> None:
    model.graph.node[1].CopyFrom(helper.make_node("Mul", ["h", "h"], ["y"], name="square"))


BAD = {
    no_inputs: (ModelError, ["has no inputs"]),
    unknown_operator: (UnsupportedError, ["'y'", "Det", "supported are Abs, Acos"]),
    other_domain: (UnsupportedError, ["com.example"]),
    old_opset: (UnsupportedError, ["opset 6", "7 to 21"]),
    new_opset: (UnsupportedError, ["opset 22", "7 to 21"]),
    no_opset: (ModelError, ["version"]),
    empty_graph: (ModelError, ["empty"]),
    no_outputs: (ModelError, ["no outputs"]),
    free_dimension: (UnsupportedError, ["'x'", "free dimension"]),
    no_shape: (ModelError, ["'x'", "shape"]),
    integer_input: (UnsupportedError, ["'x'", "float32"]),
    weight_of(np.nan): (ModelError, ["'w'", "NaN"]),
    weight_of(np.inf): (ModelError, ["'w'", "infinite"]),
    short_weight: (ModelError, ["'w'", "elements"]),
    wrong_shape: (ModelError, ["'product'", "MatMul"]),
    undefined_operand: (ModelError, ["'product'", "'nothing'"]),
    out_of_order: (ModelError, ["'h'", "before it is used"]),
    defined_twice: (ModelError, ["'h'"]),
    constant_output: (UnsupportedError, ["'y'", "does not depend on the input"]),
    unknown_output: (ModelError, ["'nothing'"]),
    external: (ModelError, ["weights.bin"]),
}


@pytest.mark.parametrize("damage", BAD, ids=[f"{k}-{damage.__name__}" for k, damage in enumerate(BAD)])
def test_bad_models(damage: Callable[[onnx.ModelProto], None], tmp_path: Path) -> None:
    kind, words = BAD[damage]
    model = good()
    damage(model)
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    assert_one_line(path, kind, *words)


def test_unused_infinite_weights_and_infinite_clips_are_fine() -> None:
    model = good()
    model.graph.initializer.append(numpy_helper.from_array(np.full(3, np.nan, dtype=np.float32), "unused"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(np.inf, dtype=np.float32), "top"))
    model.graph.node[1].CopyFrom(helper.make_node("Clip", ["h", "", "top"], ["y"]))
    assert load(model).n_outputs == 2


def test_external_data_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(good(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert load(path).n_outputs == 2


def test_a_model_in_memory_is_called_model() -> None:
    model = good()
    old_opset(model)
    with pytest.raises(UnsupportedError, match=r"^model: uses opset 6"):
        load(model)
