"""The size of every blob, worked out from the inputs', before ncnn computes with any of it.

ncnn trusts a file that its layers fit together: with a channel too many it reads beyond the
weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from backends.ncnn.checking import (
    channels,
    convolutions,
    layouts,
    pairs,
    parts,
    pooling,
    products,
    resizing,
)
from backends.ncnn.checking.blob import MOST_NUMBERS, Blob, Rule, Sizes
from backends.ncnn.checking.param import Layer


def propagate(layers: Iterable[Layer], inputs: Mapping[str, Blob]) -> dict[str, Blob | None]:
    """The size of each blob by its name; None of those that only ncnn knows.

    Unknown are the blobs of a layer of a later ncnn, and what comes of them.

    Raises:
        EngineError: a layer that does not fit what it gets, or makes more than any machine for
            ncnn could hold.
    """
    blobs: dict[str, Blob | None] = dict(inputs)
    for layer in layers:
        if layer.kind != "Input":
            blobs.update(zip(layer.tops, _tops(layer, blobs), strict=True))
    return blobs


def _tops(layer: Layer, blobs: Mapping[str, Blob | None]) -> Sequence[Blob | None]:
    known = [blob for name in layer.bottoms if (blob := blobs[name]) is not None]
    rule = _RULES.get(layer.kind)
    if rule is None or len(known) < len(layer.bottoms):
        return [None] * len(layer.tops)
    rows = {blob.rows for blob in known} - {1}
    if len(rows) > 1:
        raise layer.fault("rows of its bottoms", "one number of rows", sorted(rows))
    if layouts.changes_rows(layer):
        tops: list[Blob | None] = [layouts.reshape_rows(layer, known)]
    else:
        count = max(rows, default=1)
        tops = [None if top is None else Blob(tuple(top), count) for top in rule(layer, known)]
    if len(tops) != len(layer.tops):
        raise layer.fault("tops", str(len(tops)), len(layer.tops))
    for top in tops:
        if top is not None and (min(top.sizes) < 1 or top.total > MOST_NUMBERS):
            shown = " x ".join(map(str, (top.rows, *top.sizes)))
            raise layer.fault("its result", f"1 to {MOST_NUMBERS} numbers", shown)
    return tops


def _same(_: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    return [blobs[0].sizes]


def _split(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    return [blobs[0].sizes] * len(layer.tops)


def _each(layer: Layer, blobs: Sequence[Blob]) -> list[Sizes]:
    return [blob.sizes for blob in blobs]


_SAME = """
AbsVal BNLL CELU Clip DeepCopy Dropout ELU Erf Exp GELU HardSigmoid HardSwish Log MVN Mish Power
ReLU SELU Shrink Sigmoid Softplus Swish TanH Threshold UnaryOp
"""


_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_SAME.split(), _same),
    "Noop": _each,
    "Split": _split,
    **channels.RULES,
    **convolutions.RULES,
    **layouts.RULES,
    **pairs.RULES,
    **parts.RULES,
    **pooling.RULES,
    **products.RULES,
    **resizing.RULES,
}
