"""Networks for the examples of VNNLIB 2.0, made of trained ones by changing their ONNX nodes."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GRID = 32  # the rounded controller's weights are whole numbers of 1 / GRID


def parts(folder: Path) -> onnx.ModelProto:
    """The manoeuvres' costs with two inputs: distance and bearing, and the closing speed."""
    model = onnx.load(folder / "advisory.onnx")
    graph = model.graph
    del graph.input[:]
    for name, size in (("place", 2), ("speed", 1)):
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]))
    graph.node.insert(0, helper.make_node("Concat", ["place", "speed"], ["X"], name="concat_node", axis=1))
    return model


def thrust(folder: Path) -> onnx.ModelProto:
    """The pendulum's controller without pushes to the left: its torque, or 0."""
    model = onnx.load(folder / "pendulum.onnx")
    model.graph.node[-1].output[0] = "torque"
    model.graph.node.append(helper.make_node("Relu", ["torque"], ["Y"], name="thrust_node"))
    return model


def rounded(folder: Path) -> onnx.ModelProto:
    """The pendulum's controller with coarse weights."""
    model = onnx.load(folder / "pendulum.onnx")
    for tensor in model.graph.initializer:
        values = np.round(numpy_helper.to_array(tensor) * GRID) / GRID
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    return model


def scalar(folder: Path) -> onnx.ModelProto:
    """The pendulum's controller with a torque that has no axes."""
    model = onnx.load(folder / "pendulum.onnx")
    model.graph.node[-1].output[0] = "torque"
    model.graph.initializer.append(numpy_helper.from_array(np.array([], dtype=np.int64), "no_axes"))
    model.graph.node.append(helper.make_node("Reshape", ["torque", "no_axes"], ["Y"], name="scalar_node"))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("Y", TensorProto.FLOAT, []))
    return model


DERIVED = {
    "advisory_parts": parts,
    "pendulum_thrust": thrust,
    "pendulum_rounded": rounded,
    "pendulum_scalar": scalar,
}


def write_derived(folder: Path) -> None:
    """Write all of them beside the networks that they are made of."""
    for name, make in DERIVED.items():
        model = make(folder)
        model.graph.name = name
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, folder / f"{name}.onnx")
