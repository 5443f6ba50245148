"""The check of an OpenVINO model's inputs and outputs against the specs."""

from __future__ import annotations

from collections.abc import Sequence

from backends.contract import EngineError, Specs
from backends.openvino.engine import dtype_of, shape_of
from backends.openvino.library import ov


def check_ports(ports: Sequence[ov.ConstOutput], specs: Specs) -> None:
    """Refuse inputs or outputs of other names, dtypes or shapes; they are matched by position.

    Raises:
        EngineError: with the tensor that differs from its spec.
    """
    if len(ports) != len(specs):
        raise EngineError(
            "tensors of the OpenVINO model",
            expected=", ".join(spec.name for spec in specs),
            got=", ".join(map(_names, ports)) or "none",
        )
    for port, spec in zip(ports, specs, strict=True):
        matches = spec.name in port.get_names() and dtype_of(port) == spec.dtype
        if not matches or not shape_of(spec).compatible(port.get_partial_shape()):
            raise EngineError(
                f"'{spec.name}' of the OpenVINO model",
                expected=str(spec),
                got=f"'{_names(port)}', {dtype_of(port)}{port.get_partial_shape()}",
            )


def _names(port: ov.ConstOutput) -> str:
    return ", ".join(sorted(port.get_names()))[:80]
