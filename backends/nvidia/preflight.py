"""What NVIDIA's ONNX parser takes of a file, on machines without a GPU.

The parser is that of TensorRT for RTX, the only one that runs without NVIDIA's driver. For TensorRT
itself its word is a strong hint and no proof: the two differ in plugins and in versions. It runs in
a child process, which a bad file may crash.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

from backends.contract import Segment, install_hint
from backends.process.support_query import support_in_child
from backends.support import Support

BUILT_BY_RTX = "built_by_rtx"
"""An option of the query: whether TensorRT for RTX is to build what its parser takes."""
_MODULE = "tensorrt_rtx_bindings"
_PARSER = "the parser of TensorRT for RTX"
_CHILD = "backends.nvidia.parser_query"


def parser_support(segment: Segment, options: object, instead_of: str = "") -> Support:
    """Ask the parser about a segment, in a child process.

    Args:
        segment: its file; weights may lie beside it.
        options: of the backend, which change nothing.
        instead_of: the product whose own parser cannot be asked here; the answer says so.
    """
    if find_spec(_MODULE) is None:
        return Support(_PARSER, unknown=f"{_PARSER} is not here. {install_hint('tensorrt-rtx')}")
    support = support_in_child(_PARSER, _CHILD, segment, {BUILT_BY_RTX: not instead_of})
    if instead_of:
        return replace(support, parser=f"{support.parser} (in the place of {instead_of}'s own)")
    return support
