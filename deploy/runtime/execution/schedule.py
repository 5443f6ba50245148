"""The order of a chain's steps by their data flow, and the last use of each tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backends.contract import Artifact, Specs
from deploy.runtime.bundle.manifest import BundleError, HostStep

Step = Artifact | HostStep


def schedule(steps: Sequence[Step], inputs: Specs, outputs: Specs) -> list[Step]:
    """Sort steps topologically; of those that are ready, the first in the given order is next.

    Args:
        steps: engine and host steps, in any order.
        inputs: of the chain.
        outputs: of the chain.

    Raises:
        BundleError: a tensor has two producers or none, or steps depend on each other in a cycle.
    """
    producers = _producers(steps, inputs)
    required = [(spec.name, step.name) for step in steps for spec in step.inputs]
    required += [(spec.name, "the chain's outputs") for spec in outputs]
    for tensor, consumer in required:
        if tensor not in producers:
            raise BundleError(f"tensor '{tensor}', needed by {consumer}, is made by no step")
    available = {spec.name for spec in inputs}
    pending, ordered = list(steps), list[Step]()
    while pending:
        ready = (step for step in pending if _names(step.inputs) <= available)
        if (step := next(ready, None)) is None:
            cycle = ", ".join(step.name for step in pending)
            raise BundleError(f"steps wait for each other: {cycle}")
        pending.remove(step)
        ordered.append(step)
        available |= _names(step.outputs)
    return ordered


def _producers(steps: Sequence[Step], inputs: Specs) -> Mapping[str, str]:
    producers = {spec.name: "the chain's inputs" for spec in inputs}
    for step in steps:
        for spec in step.outputs:
            if spec.name in producers:
                raise BundleError(
                    f"tensor '{spec.name}' is made twice, by {producers[spec.name]} and {step.name}"
                )
            producers[spec.name] = step.name
    return producers


def last_uses(steps: Sequence[Step], outputs: Sequence[str]) -> list[list[str]]:
    """For each step, the tensors that are dead after it: no later step and no output is one.

    Args:
        steps: in data-flow order.
        outputs: the names of the chain's outputs.
    """
    live = set(outputs)
    dead: list[list[str]] = []
    for step in reversed(steps):
        mentioned = _names(step.inputs) | _names(step.outputs)
        dead.append(sorted(mentioned - live))
        live |= mentioned
    return dead[::-1]


def _names(specs: Specs) -> set[str]:
    return {spec.name for spec in specs}
