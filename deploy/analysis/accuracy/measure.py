"""A bundle and the reference's values -> the errors of its steps, and what each does to the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from backends.contract import Array, Artifact, DeployError, Tensors
from backends.error_metrics import ErrorMetrics, compare_all, worst
from deploy.analysis.accuracy.records import Blame, ChainEnd, StepBlame, SwapEffects
from deploy.analysis.accuracy.replay import Replay, SingleStep, StepOutput, names
from deploy.runtime.accuracy.step_errors import downstream_of_host
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import MANIFEST
from deploy.runtime.bundle.sample import DETECTIONS, expected_detections, sample_picture
from deploy.runtime.execution.schedule import Step
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.vision.detections import Detections
from deploy.verify import detection_agreement

End = Callable[[Tensors], ChainEnd]


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


def measure_steps(bundle: Path, pipeline: Pipeline, values: Tensors) -> Blame:
    """Run every step on the reference's inputs and on the chain's, and swap each back.

    Args:
        bundle: the bundle's folder.
        pipeline: the bundle, open.
        values: the reference's value of every tensor that it has one of.
    """
    manifest, chain = pipeline.manifest, pipeline.chain
    end, replay = _end(bundle, pipeline, values), Replay(chain.steps)
    known, chosen = _complete(replay, values), downstream_of_host(manifest)
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
        steps.append(_described(step, values, SingleStep(step, runner)(known)))
    return Blame(manifest.model, hash_file(bundle / MANIFEST).sha256, end(actual), tuple(steps))


def _swaps(replay: Replay, number: int, actual: Tensors, known: Known, end: End) -> SwapEffects:
    outputs = names(replay.steps[number].step.outputs)
    right = {name: known.values[name] for name in outputs if name in known.values}
    return SwapEffects(
        inputs=end(replay.swapped(number, actual, {**known.chosen, **known.own})),
        outputs=end(replay.swapped(number, actual, {**known.chosen, **right})),
    )


def _described(step: Step, values: Tensors, own: StepOutput) -> StepBlame:
    return StepBlame(
        name=step.name,
        backend=step.backend if isinstance(step, Artifact) else "",
        precision=step.precision if isinstance(step, Artifact) else "fp32",
        own=_gaps(step, values, own.outputs),
        calls=() if isinstance(step, Artifact) else step.calls,
        failure=own.failure,
    )


def _gaps(step: Step, values: Tensors, found: Tensors) -> tuple[ErrorMetrics, ...]:
    known = {spec.name: values[spec.name] for spec in step.outputs if spec.name in values}
    return tuple(compare_all(known, found))


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
        chosen = downstream_of_host(manifest)
    expected = {
        spec.name: values[spec.name]
        for spec in manifest.outputs
        if spec.name in values and spec.name not in chosen
    }
    picture = sample_picture(bundle, manifest)
    if pipeline.post is None or picture is None or DETECTIONS not in manifest.files:
        return lambda found: ChainEnd(_worst(expected, found))
    wanted = expected_detections(bundle, manifest)
    _, placement = pipeline.prepare(picture)
    outputs = [spec.name for spec in manifest.outputs]

    def seen(found: Tensors) -> Detections:
        try:
            return pipeline.finish({name: found[name] for name in outputs}, placement)
        except (KeyError, DeployError):  # a step failed, or gave what the host step does not take
            return wanted.take(np.zeros(0, int))

    def detections(found: Tensors) -> ChainEnd:
        shared = detection_agreement([wanted], [seen(found)])
        return ChainEnd(_worst(expected, found), shared.matched, shared.total)

    return detections


def _worst(expected: Tensors, found: Tensors) -> ErrorMetrics | None:
    return worst(compare_all(expected, found)) if expected else None
