"""Numbers that a half type cannot hold: in the weights, and in what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

import numpy as np
import onnx_ir as ir

from backends.contract import Array
from deploy.casting.choosing import Choice
from deploy.casting.schemas import Places
from deploy.casting.words import Half
from deploy.cutting.anatomy import is_weight

HEADROOM = 2.0  # times what the sample shows is what other samples may need
_LOSS = 0.1  # of a weight's sum of magnitudes, that half may not hold
_BLOCK = 1 << 20  # values that are looked at together

Why = Callable[[ir.Value], str]


def measured(choice: Choice) -> list[ir.Value]:
    """The values that are to be measured: those that would be half, without weights."""
    found = (value for node, spots in choice.half.items() for value in _values(node, spots))
    return list(dict.fromkeys(value for value in found if not is_weight(value)))


def in_range(choice: Choice, peaks: Mapping[str, float], half: Half) -> Choice:
    """The choice without nodes of which a tensor or a weight does not fit.

    Args:
        choice: what can be half.
        peaks: the largest finite magnitude of every ``measured`` value by its name.
        half: the type.
    """

    @cache
    def why(value: ir.Value) -> str:
        if is_weight(value) and value.const_value is not None:
            return misfit_of_weight(value.const_value.numpy(), str(value.name), half)
        return misfit(peaks[str(value.name)], str(value.name), half)

    kept = {node: _reason(node, spots, why) for node, spots in choice.half.items()}
    return choice.without({node: reason for node, reason in kept.items() if reason})


def _reason(node: ir.Node, spots: Places, why: Why) -> str:
    return next(filter(None, map(why, _values(node, spots))), "")


def misfit(peak: float, name: str, half: Half) -> str:
    """Why a tensor of this largest magnitude cannot be half; nothing where it can."""
    limit = half.largest / HEADROOM
    if peak > limit:
        return f"overflow: max {peak:.3g} > {limit:.5g} in tensor '{name}'"
    if 0 < peak < half.normal:
        return f"underflow: max {peak:.3g} < {half.normal:.3g} in tensor '{name}'"
    return ""


def misfit_of_weight(weight: Array, name: str, half: Half) -> str:
    """Why a float32 weight of any shape cannot be half; nothing where it can."""
    peak = total = lost = 0.0
    flat = weight.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        finite = block[np.isfinite(block)]
        peak = max(peak, float(np.abs(finite).max(initial=0)))
        if peak > half.largest:
            return f"overflow: max {peak:.3g} > {half.largest:.5g} in weight '{name}'"
        rounded = finite.astype(half.dtype.numpy()).astype(np.float32)
        total += float(np.abs(finite).sum(dtype=np.float64))
        lost += float(np.abs(finite - rounded).sum(dtype=np.float64))
    if lost > _LOSS * total:
        return f"underflow: {lost / total:.0%} of weight '{name}' is lost"
    return ""


def _values(node: ir.Node, spots: Places) -> Iterator[ir.Value]:
    inputs = (node.inputs[n] for n in spots.inputs)
    outputs = (node.outputs[n] for n in spots.outputs)
    return (value for value in (*inputs, *outputs) if value is not None)
