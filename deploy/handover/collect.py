"""A bundle -> ``handover.json``: what a program without this project's runtime needs to run it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.acceptance import CONFIDENT, MATCH_IOU, AcceptanceRule
from backends.codec import to_json
from backends.contract import Artifact
from backends.registry import about
from deploy.handover.facts import (
    AgreementFacts,
    CodeFacts,
    EngineChoice,
    FileFacts,
    Handover,
    PostFacts,
    SampleFacts,
    StepFacts,
    StoredArray,
)
from deploy.handover.formulas import constants_of, effective_params, formula_of
from deploy.handover.picture import picture_facts
from deploy.handover.stored_arrays import stored_arrays
from deploy.runtime.accuracy.step_errors import CHAIN, tolerances
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import HANDOVER, HostStep, Manifest, PostStep, called_steps
from deploy.runtime.bundle.sample import IMAGE, RESULT, TENSORS
from deploy.runtime.execution.host_steps import host_factory
from deploy.runtime.execution.post_steps import post_factory, result_class
from deploy.runtime.execution.schedule import schedule
from deploy.runtime.execution.text_front_ends import text_front_end_factory

_RULES = (
    "A tensor goes by its name from the step that gives it to every step that takes it. A step "
    "that another one calls is not called by itself.",
    "Where one step gives float16 and another takes float32, or the other way round, the values "
    "are converted between them. Other dtypes are equal.",
    "An engine is not called with 0 rows: its outputs then have 0 rows.",
)
_METRICS = (
    "max_rel is the largest absolute difference of the tensor, divided by the largest magnitude in "
    "the reference; it is at most this.",
    "cosine is the cosine similarity of both tensors as vectors; it is at least this.",
    "Whole numbers and booleans are equal.",
)


def write_handover(bundle: Path, manifest: Manifest) -> None:
    """Write ``handover.json`` into a bundle whose other files are all there.

    Args:
        bundle: its folder.
        manifest: of the bundle, with its steps, its verification and the hashes of its engines.
    """
    facts = collect_handover(bundle, manifest)
    (bundle / HANDOVER).write_text(json.dumps(to_json(facts), indent=1) + "\n")


def collect_handover(bundle: Path, manifest: Manifest) -> Handover:
    """What ``handover.json`` holds; the same bundle gives the same.

    Args:
        bundle: its folder.
        manifest: as of ``write_handover``.
    """
    initial = manifest.initial_state
    return Handover(
        model=manifest.model,
        classes=manifest.classes,
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        picture=picture_facts(manifest.pre, manifest.inputs) if manifest.pre else None,
        text=_text_facts(manifest),
        state=manifest.state,
        initial_state=stored_arrays(bundle, initial) if initial else (),
        steps=tuple(_steps(bundle, manifest)),
        rules=_RULES,
        post=_post_facts(manifest.post) if manifest.post else None,
        sample=_sample_facts(bundle, manifest),
        agreement=_agreement_facts(manifest),
        tools=dict(sorted(manifest.tools.items())),
    )


def _steps(bundle: Path, manifest: Manifest) -> list[StepFacts]:
    """The engine steps that host steps call come last: nothing else calls them."""
    called = called_steps(manifest)
    free = [step for step in manifest.steps if step.name not in called]
    ordered = schedule([*free, *manifest.host], manifest.inputs, manifest.outputs)
    others = [step for step in manifest.steps if step.name in called]
    return [
        _host_facts(step) if isinstance(step, HostStep) else _engine_facts(bundle, manifest, step)
        for step in [*ordered, *others]
    ]


def _engine_facts(bundle: Path, manifest: Manifest, step: Artifact) -> StepFacts:
    others = [other for other in manifest.alternatives if other.name == step.name]
    return StepFacts(
        step.name,
        "engine",
        step.inputs,
        step.outputs,
        called_by=tuple(host.name for host in manifest.host if step.name in host.calls),
        engines=tuple(_engine_choice(bundle, manifest, item) for item in [step, *others]),
    )


def _engine_choice(bundle: Path, manifest: Manifest, artifact: Artifact) -> EngineChoice:
    describe = about(artifact.backend).handover
    return EngineChoice(
        artifact.backend,
        artifact.precision,
        _files(bundle, manifest, artifact.files),
        describe(artifact, bundle) if describe is not None and artifact.built else None,
        artifact.pending,
        _files(bundle, manifest, artifact.source),
    )


def _files(bundle: Path, manifest: Manifest, names: Sequence[str]) -> tuple[FileFacts, ...]:
    return tuple(_file(bundle, manifest, name) for name in names)


def _file(bundle: Path, manifest: Manifest, name: str) -> FileFacts:
    content = manifest.files.get(name) or hash_file(bundle / name)
    return FileFacts(name, content.sha256, content.size)


def _host_facts(step: HostStep) -> StepFacts:
    code = _code_facts(step.id, host_factory(step.name, step.id), step.params)
    return StepFacts(step.name, "host", step.inputs, step.outputs, code=code, calls=step.calls)


def _code_facts(id: str, factory: Any, given: Mapping[str, Any]) -> CodeFacts:
    params = effective_params(factory, given)
    return CodeFacts(id, params, constants_of(id, factory, params), formula_of(factory))


def _text_facts(manifest: Manifest) -> CodeFacts | None:
    if manifest.text is None:
        return None
    return _code_facts(
        manifest.text.id, text_front_end_factory(manifest.text.id), manifest.text.params
    )


def _post_facts(post: PostStep) -> PostFacts:
    code, kind = _code_facts(post.id, post_factory(post.id), post.params), result_class(post.id)
    return PostFacts(
        **vars(code), inputs=post.inputs, result=kind.__name__, placing=formula_of(kind)
    )


def _sample_facts(bundle: Path, manifest: Manifest) -> SampleFacts:
    picture = _file(bundle, manifest, IMAGE) if (bundle / IMAGE).is_file() else None
    return SampleFacts(
        picture,
        (*_arrays(bundle, TENSORS), *_arrays(bundle, RESULT, "result/")),
    )


def _arrays(bundle: Path, file: str, prefix: str = "") -> tuple[StoredArray, ...]:
    return stored_arrays(bundle, file, prefix) if (bundle / file).is_file() else ()


def _agreement_facts(manifest: Manifest) -> AgreementFacts:
    bounds = tolerances(manifest)
    named = {
        spec.name: bounds.rule.tolerance(bounds.precisions[step.name], spec.name)
        for step in manifest.steps
        for spec in step.outputs
    }
    named |= {
        spec.name: bounds.rule.tolerance(bounds.precisions[CHAIN], spec.name)
        for spec in manifest.outputs
    }
    return AgreementFacts(named, _METRICS, _results_agree(bounds.rule) if manifest.post else ())


def _results_agree(rule: AcceptanceRule) -> tuple[str, ...]:
    return (
        f"Of detections and other objects, those with a score of at least {CONFIDENT} are "
        f"compared: two are the same where their labels are equal and they overlap by {MATCH_IOU} "
        "or more.",
        f"At least {rule.min_matched} of what is compared is the same, counted from both sides.",
    )
