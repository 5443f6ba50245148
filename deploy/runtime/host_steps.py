"""The code of host steps, found by a short registered id."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points

from deploy.runtime.host import HostFactory, HostFunction, HostStep, HostStepError, Segment
from deploy.runtime.shipped import shipped


def make_host_function(step: HostStep, segments: Mapping[str, Segment]) -> HostFunction:
    """The code of a step.

    Args:
        step: the step.
        segments: the engine steps that it calls.

    Raises:
        HostStepError: nothing is registered under its id, or it does not take its parameters.
    """
    made = factory(step.name, step.id)
    given = {**step.params, "segments": segments} if step.calls else step.params
    try:
        return made(**given)
    except (TypeError, ValueError) as error:
        raise HostStepError(
            f"host step '{step.name}' ({step.id}) does not take its parameters: {error}"
        ) from error


def factory(step: str, id: str) -> HostFactory:
    """The code registered under an id.

    Args:
        step: the step's name.
        id: of its code.

    Raises:
        HostStepError: nothing is registered under it.
    """
    known = _shipped()
    if id not in known:  # only then, since asking for entry points reads every distribution
        known = registered()
    if id not in known:
        raise HostStepError(
            f"host step '{step}'",
            expected=f"one of {', '.join(sorted(known))}",
            got=repr(id),
            do="Correct its id, or register its code as an entry point in 'deploy.host_steps'.",
        )
    return known[id]


def registered() -> dict[str, HostFactory]:
    """Every host step of the models in this package, and of installed entry points."""
    others = {entry.name: entry.load() for entry in entry_points(group="deploy.host_steps")}
    return _shipped() | others


def _shipped() -> dict[str, HostFactory]:
    steps: dict[str, HostFactory] = {}
    for module in shipped("host"):
        steps.update(module.HOST_STEPS)
    return steps
