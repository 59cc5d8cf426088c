"""Convolutions, pools and resizing, against onnxruntime on small models."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.graph.models import assert_same_function, ints, one, weights

WINDOWS = {
    "Conv": one("Conv", (1, 2, 5, 6), weights(3, 2, 3, 3), weights(3)),
    "Conv-strided": one("Conv", (2, 2, 7, 6), weights(3, 2, 3, 2), strides=[2, 3], pads=[1, 0, 1, 0]),
    "Conv-uneven": one("Conv", (1, 2, 5, 5), weights(3, 2, 3, 3), weights(3), pads=[0, 1, 2, 0]),
    "Conv-dilated": one("Conv", (1, 1, 7, 7), weights(2, 1, 2, 3), dilations=[2, 3]),
    "Conv-groups": one("Conv", (1, 4, 5, 5), weights(6, 2, 2, 2), weights(6), group=2),
    "Conv-1": one("Conv", (2, 2, 7), weights(3, 2, 3), strides=[2]),
    "Conv-3": one("Conv", (1, 1, 4, 3, 4), weights(2, 1, 2, 2, 2), pads=[1] * 6),
    **{
        f"Conv-{mode}": one("Conv", (1, 1, 6, 7), weights(1, 1, 3, 2), auto_pad=mode, strides=[2, 2])
        for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")
    },
    "ConvTranspose": one("ConvTranspose", (1, 2, 3, 4), weights(2, 3, 3, 3), weights(3), strides=[2, 2]),
    "ConvTranspose-pads": one(
        "ConvTranspose", (1, 2, 3, 4), weights(2, 3, 3, 3), weights(3), strides=[2, 2], pads=[1, 1, 1, 1]
    ),
    "ConvTranspose-uneven": one(
        "ConvTranspose", (1, 2, 3, 4), weights(2, 3, 3, 3), weights(3), strides=[2, 2], pads=[1, 0, 0, 2]
    ),
    "ConvTranspose-extra": one(
        "ConvTranspose", (2, 2, 3, 4), weights(2, 1, 3, 3), weights(2), strides=[2, 3], output_padding=[1, 2], group=2
    ),
    "ConvTranspose-dilated": one("ConvTranspose", (1, 1, 3, 4), weights(1, 2, 2, 2), dilations=[2, 3]),
    "ConvTranspose-shape": one(
        "ConvTranspose", (1, 1, 3, 4), weights(1, 2, 3, 3), weights(2), strides=[2, 2], output_shape=[6, 7]
    ),
    "ConvTranspose-same": one(
        "ConvTranspose", (1, 1, 3, 4), weights(1, 2, 3, 3), weights(2), strides=[2, 2], auto_pad="SAME_UPPER"
    ),
    "ConvTranspose-1": one("ConvTranspose", (1, 1, 3), weights(1, 2, 4), strides=[3]),
    "GlobalAveragePool": one("GlobalAveragePool", (2, 3, 4, 5)),
    "GlobalMaxPool": one("GlobalMaxPool", (2, 3, 4, 5)),
}

POOLS = {
    f"{op}-{k}": one(op, shape, **attributes)
    for op in ("MaxPool", "AveragePool")
    for k, (shape, attributes) in enumerate(
        [
            ((1, 2, 4, 6), {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ((2, 1, 5, 5), {"kernel_shape": [3, 2]}),
            ((1, 1, 7, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
            ((1, 1, 6, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0]}),
            ((1, 1, 6, 6), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "opset": 11}),
            ((1, 1, 6), {"kernel_shape": [3], "strides": [2], "auto_pad": "SAME_UPPER"}),
            ((1, 1, 6), {"kernel_shape": [4], "strides": [3], "auto_pad": "SAME_LOWER"}),
            ((1, 1, 4, 4, 4), {"kernel_shape": [2, 2, 2], "strides": [2, 1, 2]}),
            ((1, 1, 5, 5), {"kernel_shape": [1, 1]}),
        ]
    )
} | {
    "MaxPool-dilated": one("MaxPool", (1, 1, 7, 7), kernel_shape=[2, 3], dilations=[2, 2]),
    "AveragePool-counted": one(
        "AveragePool", (1, 1, 6, 6), kernel_shape=[3, 3], pads=[1, 0, 1, 1], strides=[2, 2], count_include_pad=1
    ),
    "AveragePool-dilated": one(
        "AveragePool", (1, 2, 7, 7), kernel_shape=[2, 2], dilations=[2, 3], pads=[1, 1, 1, 1], opset=19
    ),
    "AveragePool-ceil-pads": one(
        "AveragePool", (1, 1, 7, 6), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1, opset=11
    ),
}

RESIZES = {
    **{
        f"Resize-{mode}-{rounding}-{k}": one(
            "Resize",
            (1, 1, 4, 5),
            None,
            np.array([1, 1, *factor], dtype=np.float32),
            mode="nearest",
            coordinate_transformation_mode=mode,
            nearest_mode=rounding,
        )
        for mode in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
        for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
        for k, factor in enumerate([(2, 3), (0.5, 0.6), (2.5, 1)])
    },
    **{
        f"Resize-linear-{mode}-{k}": one(
            "Resize",
            (1, 1, 4, 5),
            None,
            np.array([1, 1, *factor], dtype=np.float32),
            mode="linear",
            coordinate_transformation_mode=mode,
        )
        for mode in ("half_pixel", "asymmetric", "align_corners")
        for k, factor in enumerate([(2, 3), (0.5, 0.6)])
    },
    "Resize-sizes": one("Resize", (1, 1, 4, 5), None, None, ints(1, 1, 8, 7)),
    "Resize-10": one("Resize", (1, 1, 4, 5), np.array([1, 1, 2, 3], dtype=np.float32), opset=10),
    "Resize-10-down": one("Resize", (1, 1, 4, 6), np.array([1, 1, 0.5, 0.5], dtype=np.float32), opset=10),
    "Upsample": one("Upsample", (1, 1, 4, 5), np.array([1, 1, 2, 3], dtype=np.float32), opset=9),
    "Upsample-7": one("Upsample", (1, 1, 4, 5), scales=[1.0, 1.0, 2.0, 2.0], opset=7),
}

CUBIC = {
    f"Resize-cubic-{mode}-{outside}-{k}": one(
        "Resize",
        (1, 1, 4, 5),
        None,
        np.array([1, 1, *factor], dtype=np.float32),
        mode="cubic",
        coordinate_transformation_mode=mode,
        exclude_outside=outside,
        cubic_coeff_a=-0.5 if k else -0.75,
    )
    for mode in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    for outside in (0, 1)
    for k, factor in enumerate([(2, 3), (0.5, 0.6)])
}

ANTIALIASED = {
    f"Resize-antialias-{kind}-{mode}-{outside}-{len(shape)}-{k}": one(
        "Resize",
        shape,
        None,
        np.array(factors, dtype=np.float32),
        mode=kind,
        antialias=1,
        coordinate_transformation_mode=mode,
        exclude_outside=outside,
        cubic_coeff_a=-0.5 if k % 2 else -0.75,
        opset=18,
    )
    for kind in ("linear", "cubic")
    for mode in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")
    for outside in (0, 1)
    for k, (shape, factors) in enumerate(
        [
            ((1, 1, 9, 7), (1, 1, 0.5, 0.6)),
            ((1, 2, 9, 7), (1, 1, 2, 0.3)),
            ((1, 1, 9, 7), (1, 1, 0.12, 0.15)),
            ((1, 2, 4, 5), (1, 1, 1, 1.7)),
            ((9, 7), (0.4, 0.7)),
            ((1, 9, 7, 2), (1, 0.4, 0.7, 1)),
            ((6, 9, 7), (0.5, 0.4, 0.7)),
            ((1, 1, 5, 9, 7), (1, 1, 0.4, 0.7, 0.6)),
        ]
    )
    if (kind, len(shape)) not in (("cubic", 3), ("cubic", 5))
} | {
    "Resize-antialias-sizes": one(
        "Resize", (1, 1, 9, 7), None, None, ints(1, 1, 4, 3), mode="linear", antialias=1, opset=18
    )
}


@pytest.mark.parametrize(
    "proto",
    [pytest.param(p, id=name) for table in (WINDOWS, POOLS, RESIZES, CUBIC, ANTIALIASED) for name, p in table.items()],
)
def test_one_operator(proto: onnx.ModelProto) -> None:
    assert_same_function(proto)
