"""What is not supported of an operator is refused in one line, which names the node, the operator and the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper

from tests.graph.models import ints, model, one, scalar, weights
from tests.graph.test_discrete import RANGE, TO_INT, chain
from tests.graph.test_recurrent import recurrent
from verifier.errors import ModelError, UnsupportedError
from verifier.graph.onnx_import import load

CAST = ("Cast", "x", "i", TO_INT)
PARTIAL = (CAST, ("Add", "i w", "e"), ("Slice", "t i e z", "s"))
"""A slice whose length depends on the input: it ends where the constants do."""

PIECES = {"w": ints(2), "t": RANGE, "z": ints(0)}


def partial(*steps: tuple[str, str, str], **constants: np.ndarray) -> onnx.ModelProto:
    """Build a model of nodes that read such a slice, ``s``."""
    return chain(*PARTIAL, *steps, constants=PIECES | constants, shape=(1,))


def computed(op: str, value: float, **attributes: Any) -> onnx.ModelProto:
    """Apply an operator to a constant that is the result of a multiplication, and add what comes out."""
    steps = ("Mul", "c d", "v"), (op, "v", "w", attributes), ("Cast", "w", "u", {"to": TensorProto.FLOAT})
    return chain(*steps, ("Add", "x u", "y"), constants={"c": np.array(value), "d": np.array(1.0)})


def resized(mode: str, factors: tuple[float, ...] = (1, 1, 2, 2), **attributes: Any) -> onnx.ModelProto:
    return one("Resize", (1, 1, 4, 5), None, np.float32(factors), mode=mode, **attributes)


def sparse() -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["c"])
    values, places = helper.make_tensor("v", TensorProto.FLOAT, [1], [2.0]), helper.make_tensor("p", 7, [1], [0])
    tensor = helper.make_sparse_tensor(values, places, [3])
    node.attribute.append(AttributeProto(name="sparse_value", type=AttributeProto.SPARSE_TENSOR, sparse_tensor=tensor))
    return model([node, helper.make_node("Add", ["x", "c"], ["y"])], {"x": (3,)})


WHOLE: dict[str, tuple[onnx.ModelProto, str]] = {
    "Div": (chain(CAST, ("Div", "i w", "r"), constants={"w": ints(2)}), "division of whole numbers"),
    "Div-by": (chain(CAST, ("Div", "w i", "r"), constants={"w": ints(2)}), "division of whole numbers"),
    "Div-constants": (
        chain(
            ("Div", "v w", "k"),
            ("Cast", "k", "f", {"to": 1}),
            ("Add", "x f", "y"),
            constants={"v": ints(1), "w": ints(0)},
        ),
        "by zero",
    ),
    "Mod": (chain(CAST, ("Mod", "i w", "r"), constants={"w": ints(2)}), "cast it to a floating type"),
    "MatMul": (chain(CAST, ("MatMul", "i w", "r"), constants={"w": ints(2, 3, 4)}), "cast it to a floating type"),
    "Pow": (chain(CAST, ("Pow", "i w", "r"), constants={"w": ints(2)}), "cast it to a floating type"),
    "Pow-of": (chain(("Pow", "w x", "r"), constants={"w": ints(2)}), "cast it to a floating type"),
    "ReduceMean": (chain(CAST, ("ReduceMean", "i", "r")), "a mean of whole numbers"),
    "CastLike": (
        chain(("EyeLike", "w", "e", {"dtype": 7}), ("CastLike", "x e", "r"), constants={"w": weights(3, 3)}),
        "int8 to uint64",
    ),
}

SIZES = {
    "Add-size": (partial(("Size", "s", "n"), ("Add", "i n", "r")), "the size of an operand"),
    "Add-one": (partial(("Add", "s v", "r"), v=ints(5, 6)), "the size of an operand"),
    "ScatterND-into": (partial(("ScatterND", "s p u", "r"), p=ints([0]), u=ints(7)), "the size of an operand"),
    "ScatterND-long": (
        partial(
            ("Reshape", "s c", "p"),
            ("Shape", "s", "q"),
            ("Expand", "number q", "u"),
            ("ScatterND", "image p u", "y"),
            c=ints(-1, 1),
            number=np.float32([1]),
            image=np.zeros(5000, dtype=np.float32),
        ),
        "below 4096",
    ),
    "Slice-long": (
        chain(*PARTIAL, ("Cast", "s", "r", TO_INT), constants=PIECES | {"w": ints(9)}, shape=(1,)),
        "9 elements",
    ),
    "Slice-uneven": (
        chain(*PARTIAL, ("Cast", "s", "r", TO_INT), constants=PIECES | {"t": ints(0, 2, 3)}, shape=(1,)),
        "rising",
    ),
    "Slice-back": (
        chain(
            CAST,
            ("Add", "i w", "e"),
            ("Slice", "t i e z m", "s"),
            ("Cast", "s", "r", TO_INT),
            constants=PIECES | {"m": ints(-1)},
            shape=(1,),
        ),
        "with step 1",
    ),
}

ROUNDED = {
    "Floor": (computed("Floor", 3 - 1e-12), "precision"),
    "Ceil": (computed("Ceil", 3 + 1e-12), "precision"),
    "Round": (computed("Round", 2.5 + 1e-12), "precision"),
    "Round-odd": (computed("Round", 1.5 + 1e-12), "precision"),  # a little less, and it is 1 in single precision
    "Cast": (computed("Cast", 3 - 1e-12, to=TensorProto.INT64), "precision"),
    "Cast-far": (computed("Cast", 2.0**40, to=TensorProto.INT32), "int32"),
}

SLICES = {
    "Slice-behind": (one("Slice", (4, 5), ints(-1), ints(2**62), ints(1), ints(-1)), "backwards"),
    "Slice-old": (one("Slice", (4, 5), ints(3), ints(2**31 - 1), ints(0), ints(-2), opset=10), "backwards"),
    "Slice-constant": (
        chain(
            ("Slice", "c b e z m", "k"),
            ("Add", "x k", "y"),
            constants={"c": weights(3), "b": ints(2), "e": ints(2**62), "z": ints(0), "m": ints(-1)},
        ),
        "backwards",
    ),
}

CELLS = {
    "RNN-Affine": (recurrent("RNN", activations=["Affine"]), "'Affine' without activation_alpha and activation_beta"),
    "RNN-Affine-half": (recurrent("RNN", activations=["Affine"], activation_alpha=[0.5]), "activation_beta"),
    "RNN-ScaledTanh": (recurrent("RNN", activations=["ScaledTanh"], activation_beta=[0.5]), "activation_alpha"),
    "RNN-ThresholdedRelu": (
        recurrent("RNN", activations=["ThresholdedRelu"]),
        "'ThresholdedRelu' without activation_alpha",
    ),
    "GRU-second": (
        recurrent("GRU", activations=["HardSigmoid", "Affine"], activation_alpha=[0.3], activation_beta=[0.4]),
        "'Affine' without",
    ),
    "RNN-unknown": (recurrent("RNN", activations=["Gelu"]), "supported are affine, elu"),
    "LSTM-Elu": (recurrent("LSTM", activations=["Sigmoid", "Elu", "Tanh"], activation_alpha=[-1.0]), "positive ones"),
}

RESIZED = {
    "Resize-antialias": (resized("nearest", antialias=1, opset=18), "linear and cubic are supported"),
    "Resize-antialias-same": (resized("linear", (1, 1, 0.5, 1.1), antialias=1, opset=18), "leaves a length as it is"),
    "Resize-antialias-axes": (resized("cubic", (1, 2, 2, 2), antialias=1, opset=18), "3 of 4 axes; two of 2 or 4"),
    "Resize-mode": (resized("lanczos"), "nearest, linear, cubic"),
    "Resize-crop": (resized("linear", coordinate_transformation_mode="tf_crop_and_resize"), "half_pixel, asymmetric"),
    "Resize-nearest": (resized("nearest", nearest_mode="up"), "floor, ceil"),
    "Resize-policy": (resized("nearest", keep_aspect_ratio_policy="free", opset=18), "not_larger"),
    "Resize-same": (resized("nearest", (1, 1, 1.1, 1.1)), "leave every length as it is"),
}

OTHERS = {
    "TopK": (one("TopK", (2, 3), ints(0), outputs=("y", "i")), "k = 0; at least one element"),
    "TopK-open": (one("TopK", (2, 3), ints(2), sorted=0, outputs=("y", "i")), "sorted = 1 is supported"),
    "TopK-long": (one("TopK", (1, 20000), ints(2), outputs=("y", "i")), "16384 are supported"),
    "TopK-many": (one("TopK", (500, 90), ints(9), outputs=("y", "i")), "16384 are supported"),
    "ScatterElements": (
        chain(("ArgMax", "x", "i", {"axis": 0}), ("ScatterElements", "w i w", "y"), constants={"w": weights(1, 3)}),
        "constant ones are supported",
    ),
    "ScatterND-all": (
        chain(("ScatterND", "x i w", "y"), constants={"i": ints(0, 1)[:, None], "w": weights(2, 3)}),
        "writing over everything",
    ),
    "Constant": (sparse(), "dense numbers are supported"),
    "Pow-negative": (chain(("Pow", "w x", "y"), constants={"w": scalar(-2)}), "base that is not positive"),
}

REFUSED = WHOLE | SIZES | ROUNDED | SLICES | CELLS | RESIZED | OTHERS

DAMAGED = {
    "TopK-old": (one("TopK", (2, 3), k=4, opset=9, outputs=("y", "i")), "k = 4 of 3 elements"),
    "Slice-step": (one("Slice", (4, 5), ints(0), ints(3), ints(1), ints(0)), "step 0"),
    "LSTM-direction": (recurrent("LSTM", direction="sideways"), "'sideways'"),
    "Softmax-axis": (chain(("Softmax", "x", "s", {"axis": 2}), ("ArgMax", "s", "r", {"axis": 1})), "out of range"),
    "Split-none": (one("Split", (4,), num_outputs=0, opset=18), "zero"),
    "MaxPool-stride": (one("MaxPool", (1, 1, 4, 4), kernel_shape=[2, 2], strides=[0, 0]), "zero"),
    "DepthToSpace-block": (one("DepthToSpace", (1, 8, 2, 2), blocksize=0), "zero"),
}


def assert_refused(proto: onnx.ModelProto, kind: type[ModelError], op: str, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        load(proto)
    message = str(caught.value)
    assert type(caught.value) is kind
    assert message.startswith("model: node '")
    assert f" ({op}): " in message
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported(name: str) -> None:
    proto, words = REFUSED[name]
    assert_refused(proto, UnsupportedError, name.split("-")[0], words)


@pytest.mark.parametrize("name", DAMAGED)
def test_what_makes_no_sense(name: str) -> None:
    proto, words = DAMAGED[name]
    assert_refused(proto, ModelError, name.split("-")[0], words)


def test_an_output_whose_size_depends_on_the_input() -> None:
    with pytest.raises(UnsupportedError, match=r"^model: the size of output 'y' depends on the input$"):
        load(partial(("Identity", "s", "r")))


def test_directions_have_weights_of_their_own() -> None:
    proto = recurrent("GRU", direction="bidirectional")
    proto.graph.node[0].attribute.remove(next(a for a in proto.graph.node[0].attribute if a.name == "direction"))
    assert_refused(proto, ModelError, "GRU", "2 directions")


def test_windows_shorter_than_their_strides_have_no_agreed_size() -> None:
    proto = one("ConvTranspose", (1, 1, 2, 5), weights(1, 1, 1, 3), strides=[2, 1], auto_pad="SAME_LOWER")
    with pytest.raises(UnsupportedError, match="shorter than their strides"):
        load(proto)


def test_text_that_nothing_reads() -> None:
    text = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("t", TensorProto.STRING, [1], [b"text"]))
    assert load(model([text, helper.make_node("Relu", ["x"], ["y"])], {"x": (3,)})).n_outputs == 3
