"""Mutators of a manifest's tensors: another shape or dtype wherever the tensor is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.fuzzing.draw import Draw

_SIZES = (0, 1, 2, 3, 7, 8, 13, 64, 1000, 65_536, 1 << 20, -1)
_DTYPES = ("float32", "float16", "float64", "int64", "int32", "uint8", "bool", "complex64")


def mutated_specs(draw: Draw, data: bytes, others: list[bytes]) -> bytes:
    """A manifest in which one tensor is another everywhere, so that nothing contradicts it."""
    manifest = json.loads(data)
    specs = list(_specs(manifest))
    name = draw.one(specs)["name"]
    alike = [spec for spec in specs if spec["name"] == name]
    shape = alike[0]["shape"]
    if draw.maybe(0.2):
        new = {"dtype": draw.one(_DTYPES)}
    else:
        new = {"shape": _shape(draw, shape if isinstance(shape, list) else [1])}
    for spec in alike:
        spec |= new
    return json.dumps(manifest).encode()


def _shape(draw: Draw, shape: list[Any]) -> list[Any] | None:
    changed = list(shape)
    action = draw.number(0, 5)
    if action == 0:
        return None
    if action == 1 or not changed:
        changed.insert(draw.number(0, len(changed)), draw.one(_SIZES))
    elif action == 2:
        del changed[draw.number(0, len(changed) - 1)]
    elif action == 3:
        draw.chance.shuffle(changed)
    elif action == 4:
        least, usual, most = sorted(abs(draw.one(_SIZES)) for _ in range(3))
        dim = {"name": draw.one(["n", "p"]), "min": least, "opt": usual, "max": most}
        changed[draw.number(0, len(changed) - 1)] = dim
    else:
        changed[draw.number(0, len(changed) - 1)] = draw.one(_SIZES)
    return changed


def _specs(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for place in (manifest, *manifest["steps"], *manifest["host"]):
        yield from place["inputs"]
        yield from place["outputs"]
