"""OpenVINO, for x86 and Arm CPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from backends.borders import rank_obstacle
from backends.contract import About, Segment, Specs, install_hint
from backends.dtypes import dtype_obstacle
from backends.options import MAX_THREADS
from backends.process.support_query import support_in_child
from backends.support import Support

DTYPES: Mapping[str, str] = {
    "boolean": "bool",
    "f16": "float16",
    "f32": "float32",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
    "u16": "uint16",
    "u32": "uint32",
    "u64": "uint64",
}
"""The engine's dtypes and NumPy's; it would compute float64 in fp32."""


def border_obstacle(inputs: Specs, outputs: Specs) -> str:
    """Why no segment with these inputs and outputs can be converted, or an empty text."""
    if obstacle := rank_obstacle(inputs):
        return obstacle
    return dtype_obstacle(DTYPES.values(), (*inputs, *outputs))


def support(segment: Segment, options: Options) -> Support:
    """Which nodes of a segment OpenVINO translates and runs, by its own word."""
    if find_spec("openvino") is None:
        return Support("OpenVINO", unknown=f"OpenVINO is not here. {install_hint('openvino')}")
    return support_in_child("OpenVINO", "backends.openvino.support", segment, {})


ABOUT = About(
    summary="OpenVINO: CPUs of servers and desktops",
    extra="openvino",
    convert=("openvino",),
    run=("openvino",),
    border_obstacle=border_obstacle,
    support=support,
)


@dataclass(frozen=True)
class Options:
    """Options of OpenVINO.

    Attributes:
        threads: of a call; 0 leaves it to the engine.
    """

    threads: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.threads <= MAX_THREADS:
            raise ValueError(f"threads: expected 0 to {MAX_THREADS}, got {self.threads}")
