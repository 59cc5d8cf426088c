"""Errors that a user can cause; each is one clear line."""

from __future__ import annotations


class VerifierError(Exception):
    """Base of all errors that carry a message for the user; the command exits with 2 on one."""


class ModelError(VerifierError):
    """The model file cannot be read, or is not a valid network."""


class ReplayError(ModelError):
    """onnxruntime cannot load or run the model, so that no counterexample can be confirmed."""


class UnsupportedError(ModelError):
    """The model uses something the verifier does not support; the message says what it does support."""


class ShapeError(VerifierError):
    """Two parts of a problem do not fit together, for instance a specification and a network."""


class ContradictionError(VerifierError):
    """What was proved does not agree with what was computed at a point: a defect of the verifier, to be reported."""


class UsageError(VerifierError):
    """The command was called in a way that has no meaning, or asked to write where nothing can be written."""
