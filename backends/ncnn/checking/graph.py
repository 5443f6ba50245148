"""How the layers of a net hang together."""

from __future__ import annotations

from collections.abc import Callable

from backends.contract import EngineError
from backends.ncnn.checking.kinds import check_kind
from backends.ncnn.checking.param import AGAIN, Net
from backends.ncnn.checking.values import check_values


def check_graph(net: Net, file: str, inputs: int, outputs: int, has: Callable[[str], bool]) -> None:
    """Refuse a net whose blobs do not go from one layer to a later one.

    ncnn lets a blob go with the first layer that takes it, and computes it again for the next.

    Args:
        net: the net.
        file: the name of its ``.param``.
        inputs: how many: ``in0`` and so on.
        outputs: how many: ``out0`` and so on.
        has: whether the engine has layers of a kind.

    Raises:
        EngineError: a layer that the engine lacks; a blob that no earlier layer makes, that two
            make, or that two take; other inputs, outputs or number of blobs.
    """
    made: set[str] = set()
    free: set[str] = set()
    given: list[str] = []
    for layer in net.layers:
        if not has(layer.kind):
            raise layer.fault("kind", "one that this ncnn has", layer.kind)
        check_kind(layer)
        check_values(layer)
        for blob in layer.bottoms:
            if blob not in free:
                expected = "a blob that an earlier layer makes, and no other takes"
                raise layer.fault("bottoms", expected, f"'{blob}'")
            free.remove(blob)
        if made.intersection(layer.tops) or len(set(layer.tops)) != len(layer.tops):
            raise layer.fault("tops", "new blobs", ", ".join(layer.tops)[:60])
        made.update(layer.tops)
        free.update(layer.tops)
        if layer.kind == "Input":
            given += layer.tops
    if len(made) != net.blobs:
        raise _fault(file, f"{net.blobs} blobs", str(len(made)))
    _check_ends(file, inputs, outputs, set(given), free)


def _check_ends(file: str, inputs: int, outputs: int, given: set[str], free: set[str]) -> None:
    names = {f"in{at}" for at in range(inputs)}
    if given != names:
        raise _fault(file, f"the inputs {_listed(names)}", _listed(given))
    wanted = {f"out{at}" for at in range(outputs)}
    if not wanted <= free:
        raise _fault(file, f"the outputs {_listed(wanted)}", _listed(free))


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))[:60] or "none"


def _fault(file: str, expected: str, got: str) -> EngineError:
    return EngineError(f"'{file}'", expected=expected, got=got, do=AGAIN)
