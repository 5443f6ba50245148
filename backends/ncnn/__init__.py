"""ncnn, for phones and boards."""

from __future__ import annotations

from dataclasses import dataclass

from backends.contract import About, Dynamic, Specs
from backends.options import MAX_THREADS

ABOUT = About(
    summary="ncnn: CPUs of phones and boards",
    extra="ncnn",
    convert=("ncnn", "pnnx"),
    run=("ncnn",),
    precisions={"fp16": {"fp16": True}},
)


@dataclass(frozen=True)
class Options:
    """Options of ncnn.

    Attributes:
        threads: of a call; 0 leaves it to the engine.
        fp16: half precision in the file and at run time. Without it both are fp32: the engine's
            own half-precision shortcuts, which are on by default, are off.
    """

    threads: int = 0
    fp16: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.threads <= MAX_THREADS:
            raise ValueError(f"threads: expected 0 to {MAX_THREADS}, got {self.threads}")


def goes_by_rows(inputs: Specs, outputs: Specs) -> bool:
    """Whether all tensors have one number of rows, which varies, and sizes that do not.

    The net is then made for one row, and called for each.
    """
    first = {spec.dims[:1] for spec in (*inputs, *outputs)}
    rest = [dim for spec in (*inputs, *outputs) for dim in spec.dims[1:]]
    varies = len(first) == 1 and any(isinstance(dim, Dynamic) for dim in next(iter(first)))
    return varies and not any(isinstance(dim, Dynamic) for dim in rest)
