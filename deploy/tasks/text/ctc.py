"""Scores of characters at each step to a text: greedy decoding as of CTC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np

from backends.bounds import Between
from backends.contract import Array, TensorError
from deploy.runtime.results.result import Result
from deploy.runtime.vision.parameters import ClassCount
from deploy.tasks.activations import softmax
from deploy.tasks.boxes import shape_error
from deploy.tasks.text.transcript import Transcript

_ROUNDING = 0.01  # of a probability, in half precision and behind


class RecogniseText:
    """The scores of a recogniser that was trained with CTC to what a line of text says.

    One tensor: (N, T, C) floats, or (T, N, C): at each of T steps along the line a score of each of
    C outputs, of which one is the blank. That is what CRNN, SVTR and PP-OCR's recognisers give. At
    each step the largest score wins. Of neighbouring steps with the same output the first counts,
    and blanks are left out. A step with a value that is no number is a blank.

    Formula:
        1. The tensor is (1, T, C), or (T, 1, C) where ``layout`` is TNC: at each of T steps a
           number of each of C outputs. Where ``scores`` is logits, take the softmax of each step. A
           step with a value that is not finite is a blank.
        2. The output of a step is the one with the largest number, the first of equal ones. Of
           neighbouring steps with the same output the first counts; leave out the output ``blank``
           (-1: the last).
        3. A character is the class of its output: the output itself where there are C classes, else
           one less for outputs behind the blank. With C - 2 classes, the output behind the last
           class is a space. Its score is the largest number of its step.

    Args:
        layout: of the axes: ``NTC`` or ``TNC``; the latter is usual behind recurrent layers.
        blank: the output that is the blank: 0 in PP-OCR and in PyTorch's CTCLoss, -1 for the last.
        scores: probabilities; or logits, which are logarithms of probabilities too.
        characters: how many characters ``model.classes`` names; filled in from there. A
            model with another number of outputs is then an error, and not a wrong text.

    Examples:
        >>> import numpy as np
        >>> steps = np.eye(4, dtype=np.float32)[[1, 1, 0, 1, 2, 3]]
        >>> (line,) = RecogniseText().batch([steps[None]])
        >>> line.text(["a", "b", "c"])
        'aabc'
    """

    result: ClassVar[type[Result]] = Transcript

    def __init__(
        self,
        layout: Literal["NTC", "TNC"] = "NTC",
        blank: Annotated[int, Between(-1, 100_000)] = 0,
        scores: Literal["probabilities", "logits"] = "probabilities",
        characters: ClassCount | None = None,
    ) -> None:
        self._layout = layout
        self._blank = blank
        self._is_logits = scores == "logits"
        self._characters = characters

    def batch(self, tensors: Sequence[Array]) -> list[Transcript]:
        """The text of each line of a batch.

        Raises:
            TensorError: another number or shape of tensors, another number of characters, or
                values that are no probabilities.
        """
        if len(tensors) != 1 or tensors[0].ndim != 3 or not tensors[0].shape[2]:
            raise shape_error(
                tensors,
                "one tensor [N, steps, outputs] or [steps, N, outputs]",
                "Where the model has further outputs, name the scores: "
                "model.post={id: text.recognise, inputs: [NAME]}.",
            )
        self._check_outputs(tensors[0].shape[2])
        steps = tensors[0] if self._layout == "NTC" else tensors[0].transpose(1, 0, 2)
        return [self._decode(self._probabilities(line.astype(np.float32))) for line in steps]

    def _check_outputs(self, outputs: int) -> None:
        if self._blank >= outputs:
            raise TensorError(
                "the model's outputs",
                expected=f"more than {self._blank} scores at each step, since that is the blank",
                got=str(outputs),
                do="Pass the parameter blank: -1, if the blank is the last one.",
            )
        count = self._characters
        if count is not None and not count <= outputs <= count + 2:
            raise TensorError(
                "scores at each step",
                expected=f"one for each of {count:,} characters and for the blank, and one more "
                "where a space is not among them",
                got=f"{outputs:,}",
                do="Name the characters of this model in their order: model.classes=FILE, with one "
                "in each line.",
            )

    def _probabilities(self, scores: Array) -> Array:
        """Of a line (T, C); a step with a value that is no number is NaN."""
        if self._is_logits:
            with np.errstate(invalid="ignore"):
                return softmax(scores)
        with np.errstate(invalid="ignore"):
            finite = np.isfinite(scores)
            if ((scores < -_ROUNDING) | (scores > 1 + _ROUNDING))[finite].any():
                raise TensorError(
                    "scores at each step",
                    expected="probabilities from 0 to 1",
                    got="values beyond",
                    do="Pass the parameter scores: logits.",
                )
        return np.where(finite, scores, np.nan)

    def _decode(self, probabilities: Array) -> Transcript:
        outputs = probabilities.shape[1]
        blank = self._blank % outputs
        broken = np.isnan(probabilities).any(axis=1)
        best = np.where(broken, blank, probabilities.argmax(axis=1))
        is_new = np.diff(best, prepend=-1) != 0
        chosen = np.flatnonzero(is_new & (best != blank))
        scores = probabilities[chosen, best[chosen]].clip(0, 1)
        return Transcript(best[chosen].astype(np.int64), scores, outputs, blank)
