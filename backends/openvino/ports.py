"""Whether the tensors of an OpenVINO model are those of the specs."""

from __future__ import annotations

from collections.abc import Sequence

from backends.contract import EngineError, Specs
from backends.openvino.engine import dtype_of, shape_of
from backends.openvino.library import ov


def check_ports(ports: Sequence[ov.ConstOutput], specs: Specs) -> None:
    """Refuse inputs or outputs of other names, dtypes or shapes; they go by position.

    Raises:
        EngineError: with the tensor that is not as its spec.
    """
    if len(ports) != len(specs):
        raise EngineError(
            "tensors of the OpenVINO model",
            expected=", ".join(spec.name for spec in specs),
            got=", ".join(map(_title, ports)) or "none",
        )
    for port, spec in zip(ports, specs, strict=True):
        same = spec.name in port.get_names() and dtype_of(port) == spec.dtype
        if not same or not shape_of(spec).compatible(port.get_partial_shape()):
            raise EngineError(
                f"'{spec.name}' of the OpenVINO model",
                expected=str(spec),
                got=f"'{_title(port)}', {dtype_of(port)}{port.get_partial_shape()}",
            )


def _title(port: ov.ConstOutput) -> str:
    return ", ".join(sorted(port.get_names()))[:80]
