"""Linear operators on images as the matrices that they are, images being flattened channel first."""

from __future__ import annotations

import torch
from torch import Tensor

from verifier.errors import ShapeError
from verifier.lipschitz.sdp.system import Block


def convolution(kernel: Tensor, shape: tuple[int, int, int], stride: int = 1, padding: int = 0) -> Tensor:
    """Return the matrix of a convolution: it is applied to every image that has a single 1, which is exact.

    Args:
        kernel: ``(out, in, height, width)``.
        shape: of the images, ``(in, height, width)``.
        stride: of the window.
        padding: rows and columns of zeros around the images.

    Raises:
        ShapeError: the kernel does not fit the images.
    """
    if kernel.dim() != 4 or kernel.shape[1] != shape[0]:
        raise ShapeError(f"a kernel of shape {tuple(kernel.shape)} does not fit images of shape {shape}")
    if any(size + 2 * padding < part for size, part in zip(shape[1:], kernel.shape[2:], strict=True)):
        raise ShapeError(f"a kernel of shape {tuple(kernel.shape)} is larger than images of shape {shape}")
    count = shape[0] * shape[1] * shape[2]
    images = torch.eye(count, dtype=torch.float64).reshape(count, *shape)
    found = torch.nn.functional.conv2d(images, kernel.to(torch.float64), stride=stride, padding=padding)
    return found.reshape(count, -1).T.contiguous()


def pooling(shape: tuple[int, int, int], size: int, stride: int | None = None) -> Block:
    """Return the matrix of averages over square windows, without padding; rounded where ``size`` is no power of two.

    Args:
        shape: of the images, ``(channels, height, width)``.
        size: of the windows.
        stride: of the windows, ``size`` if not given.

    Raises:
        ShapeError: a window is larger than the images.
    """
    channels = shape[0]
    kernel = torch.zeros(channels, channels, size, size, dtype=torch.float64)
    kernel[range(channels), range(channels)] = 1 / size**2
    matrix = convolution(kernel, shape, size if stride is None else stride)
    return Block(matrix, torch.finfo(torch.float64).eps * matrix)
