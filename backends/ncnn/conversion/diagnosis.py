"""What is wrong with a net that pnnx wrote, or that it did not write."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from backends.contract import EngineError, Specs
from backends.ncnn.checking import check_axes, check_net
from backends.ncnn.checking.param import CONVERT_AGAIN, LayerError
from backends.ncnn.conversion.pnnx import SCRIPT, PnnxRun
from backends.ncnn.library import ncnn

_AXIS = re.compile(r"\b(in\d+|out\d+)\.numpy\((?:\)|batch_index=(\d+)\))(?:, batch_index=(\d+))?")


class Cause(Enum):
    """What kind of fault it is."""

    CRASH = "pnnx ended with an error, or left no net"
    LOST_TENSOR = "the net has other inputs or outputs than the graph"
    UNKNOWN_LAYER = "the net has layers that ncnn lacks"
    MISFIT = "the layers of the net do not fit each other, or its outputs"


@dataclass(frozen=True)
class Fault:
    """What is wrong.

    Attributes:
        cause: its kind.
        layers: the kinds of layers that it is about.
        reason: of a crash how pnnx ended, of a misfit what does not fit.
    """

    cause: Cause
    layers: frozenset[str] = frozenset()
    reason: str = ""

    def shows_in(self, other: Fault | None) -> bool:
        """Whether another fault is of the same kind, about some of the same layers."""
        if other is None or other.cause is not self.cause:
            return False
        return not self.layers or bool(self.layers & other.layers)


def batch_axes(script: str) -> dict[str, int]:
    """The batch axis of each blob, from the Python script that pnnx writes beside the net.

    ncnn's tensors keep the batch apart from the other axes; 233 means that there is none.
    """
    return {
        blob: int(output_axis or input_axis)
        for blob, output_axis, input_axis in _AXIS.findall(script)
    }


def diagnose(run: PnnxRun, inputs: Specs, outputs: Specs) -> Fault | None:
    """What is wrong with the net of a run, or nothing.

    Args:
        run: of pnnx.
        inputs: of the net, in its order.
        outputs: likewise.
    """
    if run.failure:
        return Fault(Cause.CRASH, reason=run.failure)
    if not run.is_complete:
        return Fault(Cause.CRASH, reason="it wrote no net")
    layers = [line.split() for line in run.param.read_text().splitlines()[2:]]
    if unknown := {layer[0] for layer in layers if not has_layer(layer[0])}:
        return Fault(Cause.UNKNOWN_LAYER, frozenset(unknown))
    axes = batch_axes((run.folder / SCRIPT).read_text())
    blobs = {word for layer in layers for word in layer[4 : 4 + int(layer[2]) + int(layer[3])]}
    expected = _blob_names(inputs, outputs)
    if axes.keys() != expected or not expected <= blobs:  # they are matched by position
        return Fault(Cause.LOST_TENSOR)
    try:
        check_axes(SCRIPT, axes, inputs, outputs)
        check_net(run.param, run.bin, inputs, outputs, axes, has_layer)
    except LayerError as error:
        return Fault(Cause.MISFIT, frozenset({error.kind}), error.reason)
    except EngineError as error:
        reason = str(error).removesuffix(CONVERT_AGAIN).strip(" .")
        return Fault(Cause.MISFIT, reason=reason)
    return None


def _blob_names(inputs: Collection[object], outputs: Collection[object]) -> set[str]:
    names = {f"in{index}" for index in range(len(inputs))}
    return names | {f"out{index}" for index in range(len(outputs))}


def has_layer(kind: str) -> bool:
    """Whether the installed ncnn has layers of a kind."""
    return bool(ncnn.layer_to_index(kind) >= 0)
