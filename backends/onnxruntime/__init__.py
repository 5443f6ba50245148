"""ONNX Runtime on the CPU, anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backends.contract import About

ABOUT = About(
    summary="ONNX Runtime: CPUs of servers, desktops and boards",
    extra="onnxruntime",
    convert=("onnx", "onnxruntime"),
    run=("onnxruntime",),
)


@dataclass(frozen=True)
class Options:
    """Options of ONNX Runtime.

    Attributes:
        threads: within an operator; 0 leaves it to the engine.
        optimize: what is rewritten in the file already. ``basic`` keeps to standard ONNX
            operators and runs anywhere; ``extended`` fuses into operators that only ONNX Runtime
            has. What depends on the processor is left to the start of the engine.
    """

    threads: int = 0
    optimize: Literal["off", "basic", "extended"] = "basic"

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise ValueError(f"threads: expected 0 or more, got {self.threads}")
