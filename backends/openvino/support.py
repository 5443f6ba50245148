"""The child process that asks OpenVINO about a segment."""

from __future__ import annotations

from pathlib import Path

from backends.onnx.model_file import OnnxFileError, read_without_weights
from backends.openvino.library import ov
from backends.openvino.refusals import INLINE_BYTES, refused_nodes
from backends.process.support_query import SupportQuery, answer_query
from backends.support import Support


def support_of(query: SupportQuery) -> Support:
    """The nodes that OpenVINO does not take."""
    name = f"OpenVINO {ov.get_version().partition('-')[0]}"
    try:
        model = read_without_weights(Path(query.onnx), INLINE_BYTES)
        refused = refused_nodes(model, query.segment)
    except (OnnxFileError, ValueError) as error:
        return Support(name, unknown=str(error))
    return Support(name, len(model.graph.node), refused)


if __name__ == "__main__":
    answer_query(support_of)
