"""Torch modules, by way of ONNX: what is verified is what an export of the module computes."""

from __future__ import annotations

import io
import warnings
from typing import Any

import onnx
import torch
from torch import nn

from verifier.errors import ModelError, UsageError


def exported(module: nn.Module, example_input: Any) -> onnx.ModelProto:
    """Export a module, in evaluation mode, with dimensions fixed to those of an example.

    Args:
        module: its mode and parameters are left as they are.
        example_input: a tensor, or a tuple of tensors for several inputs, of the shapes and types of the real ones.

    Raises:
        UsageError: the module does not take such an input.
        ModelError: torch cannot export it.
    """
    arguments = example_input if isinstance(example_input, tuple) else (example_input,)
    training = {part: part.training for part in module.modules()}
    module.eval()
    file = io.BytesIO()
    try:
        with torch.no_grad():
            module(*arguments)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, arguments, file, dynamo=False)  # type: ignore[arg-type]  # it takes files as well
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        shapes = ", ".join(str(list(part.shape)) for part in arguments if isinstance(part, torch.Tensor))
        if not file.getbuffer().nbytes and "onnx" not in reason.lower():
            raise UsageError(f"the module does not take an input of shape {shapes}: {reason}") from None
        raise ModelError(f"torch cannot export the module to ONNX: {reason}") from None
    finally:
        for part, mode in training.items():
            part.train(mode)
    return onnx.load_model_from_string(file.getvalue())


def as_onnx(model: Any, example_input: Any, n_inputs: int | None = None) -> Any:
    """Export a module; leave anything else as it is.

    Without an example, one row of ``n_inputs`` zeros is tried, of the type of the module's parameters.

    Raises:
        UsageError: an example is needed, or does not fit.
    """
    if not isinstance(model, nn.Module):
        if example_input is not None:
            raise UsageError("example_input is for torch modules; a file or a graph knows its input")
        return model
    if example_input is None:
        if n_inputs is None:
            raise UsageError("a torch module needs example_input, a tensor of the shape of its input")
        kind = next((part.dtype for part in model.parameters()), torch.float32)
        example_input = torch.zeros(1, n_inputs, dtype=kind)
    return exported(model, example_input)
