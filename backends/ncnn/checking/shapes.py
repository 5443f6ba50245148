"""Shape inference: the size of every blob, before ncnn computes with any of it.

ncnn assumes that the layers of a file fit together: with a channel too many it reads beyond the
weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from backends.ncnn.checking import (
    elementwise_shapes,
    layout_shapes,
    matrix_shapes,
    resize_shapes,
    window_shapes,
)
from backends.ncnn.checking.blob import MAX_ELEMENTS, MAX_RANK, Blob, ShapeRule
from backends.ncnn.checking.param import Layer

_RULES: Mapping[str, ShapeRule] = {
    **elementwise_shapes.RULES,
    **layout_shapes.RULES,
    **matrix_shapes.RULES,
    **resize_shapes.RULES,
    **window_shapes.RULES,
}


def infer_blob_shapes(
    layers: Iterable[Layer], inputs: Mapping[str, Blob]
) -> dict[str, Blob | None]:
    """The size of each blob by its name; None for one that only ncnn knows.

    Unknown are the blobs that a layer of a later ncnn writes, and all that depend on them.

    Args:
        layers: of a net whose graph and values were checked.
        inputs: its inputs by the name of the blob.

    Raises:
        EngineError: a layer does not fit its bottoms, or its result is empty or too large.
    """
    blobs: dict[str, Blob | None] = dict(inputs)
    for layer in layers:
        if layer.kind != "Input":
            blobs.update(zip(layer.tops, _infer_tops(layer, blobs), strict=True))
    return blobs


def _infer_tops(layer: Layer, blobs: Mapping[str, Blob | None]) -> Sequence[Blob | None]:
    bottoms = [blob for name in layer.bottoms if (blob := blobs[name]) is not None]
    rule = _RULES.get(layer.kind)
    if rule is None or len(bottoms) < len(layer.bottoms):
        return [None] * len(layer.tops)
    rank = max((len(blob.sizes) for blob in bottoms), default=0)
    if rank > MAX_RANK:
        raise layer.fault("axes of its bottom", f"at most {MAX_RANK} and a batch", rank)
    batches = {blob.rows for blob in bottoms} - {1}
    if len(batches) > 1:
        raise layer.fault("rows of its bottoms", "one number of rows", sorted(batches))
    if layout_shapes.changes_rows(layer):
        tops: list[Blob | None] = [layout_shapes.reshape_rows(layer, bottoms)]
    else:
        rows = max(batches, default=1)
        results = rule(layer, bottoms)
        tops = [None if sizes is None else Blob(tuple(sizes), rows) for sizes in results]
    if len(tops) != len(layer.tops):
        raise layer.fault("tops", str(len(tops)), len(layer.tops))
    for top in tops:
        if top is not None and (min(top.sizes) < 1 or top.total > MAX_ELEMENTS):
            shown = " x ".join(map(str, (top.rows, *top.sizes)))
            raise layer.fault("its result", f"1 to {MAX_ELEMENTS} numbers", shown)
    return tops
