"""Activations as post-processing needs them: they overflow for no finite value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from backends.contract import Array


def sigmoid(logits: Array) -> Array:
    """``1 / (1 + exp(-x))`` of each value; float32 where the logits are.

    Examples:
        >>> sigmoid(np.array([-1000.0, 0.0, 1000.0], np.float32)).round(6).tolist()
        [0.0, 0.5, 1.0]
    """
    shares: Array = 1 / (1 + np.exp(-np.maximum(logits, -80)))  # exp(80) is still a float32
    return shares


def softmax(logits: Array, axis: int = -1) -> Array:
    """``exp(x) / sum(exp(x))`` along an axis; float32 where the logits are.

    Examples:
        >>> softmax(np.array([[1000.0, 1000.0]], np.float32)).tolist()
        [[0.5, 0.5]]
    """
    exponentials = np.exp(logits - logits.max(axis=axis, keepdims=True, initial=-np.inf))
    shares: Array = exponentials / exponentials.sum(axis=axis, keepdims=True)
    return shares


Activation = Literal["softmax", "sigmoid", "none"]
"""What makes scores of a model's numbers; ``none`` where the model does so itself."""


ACTIVATIONS: Mapping[Activation, Callable[[Array], Array]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "none": lambda scores: scores,
}
"""Each over the last axis."""
