"""The steps of a chain in the order of their data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backends.contract import Artifact, Specs
from deploy.runtime.bundle.manifest import BundleError, HostStep

Step = Artifact | HostStep


def schedule(steps: Sequence[Step], inputs: Specs, outputs: Specs) -> list[Step]:
    """The steps in data-flow order.

    Raises:
        BundleError: a tensor is made twice or by nobody, or steps wait for each other.
    """
    makers = _makers(steps, inputs)
    needed = [(spec.name, step.name) for step in steps for spec in step.inputs]
    for tensor, user in [*needed, *((spec.name, "the chain's outputs") for spec in outputs)]:
        if tensor not in makers:
            raise BundleError(f"tensor '{tensor}', needed by {user}, is made by no step")
    ready = {spec.name for spec in inputs}
    pending, ordered = list(steps), list[Step]()
    while pending:
        step = next((one for one in pending if _names(one.inputs) <= ready), None)
        if step is None:
            raise BundleError(
                f"steps wait for each other: {', '.join(one.name for one in pending)}"
            )
        pending.remove(step)
        ordered.append(step)
        ready |= _names(step.outputs)
    return ordered


def _makers(steps: Sequence[Step], inputs: Specs) -> Mapping[str, str]:
    makers = {spec.name: "the chain's inputs" for spec in inputs}
    for step in steps:
        for spec in step.outputs:
            if spec.name in makers:
                raise BundleError(
                    f"tensor '{spec.name}' is made twice, by {makers[spec.name]} and {step.name}"
                )
            makers[spec.name] = step.name
    return makers


def last_uses(steps: Sequence[Step], outputs: Sequence[str]) -> list[list[str]]:
    """For each step, the tensors that nothing needs after it.

    Args:
        steps: in their order.
        outputs: what is needed at the end.
    """
    alive = set(outputs)
    dead: list[list[str]] = []
    for step in reversed(steps):
        mentioned = _names(step.inputs) | _names(step.outputs)
        dead.append(sorted(mentioned - alive))
        alive |= mentioned
    return dead[::-1]


def _names(specs: Specs) -> set[str]:
    return {spec.name for spec in specs}
