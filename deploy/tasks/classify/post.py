"""Scores of classes to the likeliest classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import numpy as np

from backends.bounds import Between
from backends.contract import Array, TensorError
from deploy.runtime.execution.post_steps import PostFactory
from deploy.runtime.results.result import Result
from deploy.runtime.vision.parameters import ClassCount
from deploy.tasks.activations import ACTIVATIONS, Activation
from deploy.tasks.classify.result import Classification


class Classify:
    """The head of a classifier to its likeliest classes.

    The tensor is (N, C) or (N, C, 1, 1), float32: of each input a number for each class. That is
    what the classifiers of torchvision, timm, MMPreTrain and transformers return as logits.

    Formula:
        1. The tensor (1, C) or (1, C, 1, 1) has a number for each class.
        2. Scores by ``activation``: softmax is exp(x - largest) / sum of these; sigmoid is 1 / (1 +
           exp(-x)); none is the numbers themselves.
        3. Sort the classes by their scores, best first, equal ones by their index; leave out scores
           that are not finite. Without a ``threshold`` the result is the first ``top`` of them;
           with one it is those of at least the threshold, at most ``top``.

    Args:
        activation: what makes scores of the numbers. ``none`` for a model that ends in a softmax or
            a sigmoid itself.
        top: how many classes are given at most.
        threshold: for models of several labels: every class of at least this score is given, and
            nothing else. Without it an input has one class, and the next best ones are given too.

    Examples:
        >>> import numpy as np
        >>> (result,) = Classify(top=2).batch([np.array([[0.0, 2.0, 1.0]], np.float32)])
        >>> result.labels.tolist()
        [1, 2]
    """

    result: ClassVar[type[Result]] = Classification

    def __init__(
        self,
        activation: Activation = "softmax",
        top: ClassCount = 5,
        threshold: Annotated[float, Between(0, 1)] | None = None,
    ) -> None:
        self._activate = ACTIVATIONS[activation]
        self._top = top
        self._threshold = threshold

    def batch(self, tensors: Sequence[Array]) -> list[Classification]:
        """The classes of each input of a batch.

        Args:
            tensors: (N, C) or (N, C, 1, 1), a single one.

        Raises:
            TensorError: another number or shape of tensors.
        """
        with np.errstate(invalid="ignore"):  # of infinite values, which give no class
            scores = self._activate(_class_axis_last(tensors).astype(np.float32))
        return [self._select(row) for row in scores]

    def _select(self, scores: Array) -> Classification:
        ranked = np.argsort(-scores, kind="stable")  # NaN is last
        least = -np.inf if self._threshold is None else self._threshold
        good = ranked[np.isfinite(scores[ranked]) & (scores[ranked] >= least)]
        labels = good[: self._top].astype(np.int64)
        return Classification(scores, labels, exclusive=self._threshold is None)


def _class_axis_last(tensors: Sequence[Array]) -> Array:
    """The tensor as (N, C)."""
    shapes = [tensor.shape for tensor in tensors]
    is_map = len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][2:] == (1, 1)
    if len(shapes) != 1 or not (is_map or len(shapes[0]) == 2) or shapes[0][1] == 0:
        raise TensorError(
            "scores of classes",
            expected="one tensor [N, classes] or [N, classes, 1, 1]",
            got=", ".join(str(list(shape)) for shape in shapes) or "none",
        )
    return tensors[0].reshape(shapes[0][:2])


POSTS: Mapping[str, PostFactory] = {"classify": Classify}
"""The post-processing steps by the ids that bundles name."""
