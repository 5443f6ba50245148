"""A bundle and the reference's values -> the errors of its steps, and what each does to the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from backends.contract import Array, Artifact, DeployError, Tensors
from backends.gap import Gap, measure_all, worst
from deploy.blaming.records import Blame, Final, StepBlame, Swaps
from deploy.blaming.replay import Ran, Replay, Solo, names
from deploy.runtime.contents import content_of
from deploy.runtime.detections import Detections
from deploy.runtime.gaps import behind_host
from deploy.runtime.manifest import MANIFEST
from deploy.runtime.order import Step
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.sample import DETECTIONS, expected_detections, sample_picture
from deploy.verify import agreement

End = Callable[[Tensors], Final]


class Known(NamedTuple):
    """What a step can be given, and give, in the place of what is in the chain.

    Attributes:
        own: what it gives for the reference's inputs.
        values: the reference's tensors.
        chosen: of these, what host steps before it choose, such as the order of regions: only
            with the same choice are its rows those of the reference.
    """

    own: Tensors
    values: Tensors
    chosen: Tensors


def measure_blame(bundle: Path, pipeline: Pipeline, values: Tensors) -> Blame:
    """Run every step on the reference's inputs and on the chain's, and swap each back.

    Args:
        bundle: the bundle's folder.
        pipeline: the bundle, open.
        values: the reference's value of every tensor that it has one of.
    """
    manifest, chain = pipeline.manifest, pipeline.chain
    end, replay = _end(bundle, pipeline, values), Replay(chain.steps)
    known, chosen = _complete(replay, values), behind_host(manifest)
    actual = replay.run({spec.name: values[spec.name] for spec in manifest.inputs})
    steps = []
    for number, solo in enumerate(replay.steps):
        own = solo(known)
        right = {name: known[name] for name in replay.before(number) & chosen if name in known}
        swaps = _swaps(replay, number, actual, Known(own.outputs, known, right), end)
        found = _described(solo.step, values, own)
        inherited = _gaps(solo.step, values, actual)
        steps.append(replace(found, inherited=inherited, swaps=swaps))
    for step, runner in chain.called:
        steps.append(_described(step, values, Solo(step, runner)(known)))
    return Blame(manifest.model, content_of(bundle / MANIFEST).sha256, end(actual), tuple(steps))


def _swaps(replay: Replay, number: int, actual: Tensors, known: Known, end: End) -> Swaps:
    outputs = names(replay.steps[number].step.outputs)
    right = {name: known.values[name] for name in outputs if name in known.values}
    return Swaps(
        inputs=end(replay.swapped(number, actual, {**known.chosen, **known.own})),
        outputs=end(replay.swapped(number, actual, {**known.chosen, **right})),
    )


def _described(step: Step, values: Tensors, own: Ran) -> StepBlame:
    return StepBlame(
        name=step.name,
        backend=step.backend if isinstance(step, Artifact) else "",
        precision=step.precision if isinstance(step, Artifact) else "fp32",
        own=_gaps(step, values, own.outputs),
        calls=() if isinstance(step, Artifact) else step.calls,
        failure=own.failure,
    )


def _gaps(step: Step, values: Tensors, found: Tensors) -> tuple[Gap, ...]:
    known = {spec.name: values[spec.name] for spec in step.outputs if spec.name in values}
    return tuple(measure_all(known, found))


def _complete(replay: Replay, values: Tensors) -> dict[str, Array]:
    """With what host steps give that the reference has no value of: they count as right there."""
    known = dict(values)
    for solo in replay.steps:
        if any(spec.name not in known for spec in solo.step.outputs):
            known = {**solo(known).outputs, **known}
    return known


def _end(bundle: Path, pipeline: Pipeline, values: Tensors) -> End:
    """What to measure at the end of the chain."""
    manifest, chosen = pipeline.manifest, set[str]()
    if pipeline.post is not None:
        chosen = behind_host(manifest)
    expected = {
        spec.name: values[spec.name]
        for spec in manifest.outputs
        if spec.name in values and spec.name not in chosen
    }
    picture = sample_picture(bundle, manifest)
    if pipeline.post is None or picture is None or DETECTIONS not in manifest.files:
        return lambda found: Final(_worst(expected, found))
    wanted = expected_detections(bundle, manifest)
    _, placement = pipeline.prepare(picture)
    outputs = [spec.name for spec in manifest.outputs]

    def seen(found: Tensors) -> Detections:
        try:
            return pipeline.finish({name: found[name] for name in outputs}, placement)
        except (KeyError, DeployError):  # a step failed, or gave what the host step does not take
            return wanted.take(np.zeros(0, int))

    def detections(found: Tensors) -> Final:
        shared = agreement([wanted], [seen(found)])
        return Final(_worst(expected, found), shared.matched, shared.total)

    return detections


def _worst(expected: Tensors, found: Tensors) -> Gap | None:
    return worst(measure_all(expected, found)) if expected else None
