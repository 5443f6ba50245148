"""The double of TensorRT against NVIDIA's own parser: what they say of the same file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.parsersuite.outcome import NetworkTensor, Outcome

# the other kinds of layers have no kinds of nodes that they always come from
_PRODUCTS = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY")
_REFUSED = "refused by the parser"


def differences(real: Outcome, double: Outcome) -> list[str]:
    """Where the two differ about a file; each begins with its kind.

    Compared are whether the file is taken, the inputs and outputs of its network, how many
    convolutions and matrix products it has, and of a refusal the node, its operator and the kind of
    error.
    """
    return list(_differences(real, double))


def _differences(real: Outcome, double: Outcome) -> Iterator[str]:
    if real.verdict != double.verdict:
        yield f"verdict: {_described(real)}; the double: {_described(double)}"
    elif real.verdict == _REFUSED:
        yield from _refusals(real, double)
    else:
        yield from _tensors("input", real.inputs, double.inputs)
        yield from _tensors("output", real.outputs, double.outputs)
        counts = [[each.layers.get(kind, 0) for kind in _PRODUCTS] for each in (real, double)]
        if counts[0] != counts[1]:
            yield f"products: {counts[0]}; the double: {counts[1]}"


def _described(outcome: Outcome) -> str:
    if outcome.verdict != _REFUSED:
        return outcome.verdict
    operators = [f"{refusal.operator}: {refusal.text[:80]}" for refusal in outcome.refusals]
    return f"{outcome.verdict}, {'; '.join(operators)}"


def _refusals(real: Outcome, double: Outcome) -> Iterator[str]:
    pairs = (
        [(refusal.operator, refusal.node, refusal.name) for refusal in outcome.refusals]
        for outcome in (real, double)
    )
    nodes, others = pairs
    if nodes != others:
        yield f"nodes: {nodes}; the double: {others}"
        return
    codes = [[refusal.code for refusal in outcome.refusals] for outcome in (real, double)]
    if codes[0] != codes[1]:
        yield f"codes: {codes[0]}; the double: {codes[1]}"


def _tensors(
    kind: str, real: Sequence[NetworkTensor], double: Sequence[NetworkTensor]
) -> Iterator[str]:
    if [tensor.name for tensor in real] != [tensor.name for tensor in double]:
        yield f"{kind} names: {[t.name for t in real]}; the double: {[t.name for t in double]}"
        return
    for one, other in zip(real, double, strict=True):
        for field in ("dtype", "shape", "decides_shapes"):
            values = getattr(one, field), getattr(other, field)
            if values[0] != values[1]:
                yield f"{kind} {field}: '{one.name}': {values[0]}; the double: {values[1]}"
