"""Builds the engines of a bundle where they run, and verifies the chain there."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from backends.acceptance import CONFIDENT
from backends.contract import Array, Artifact, EngineError, Segment
from backends.conversion_files import ARTIFACT_FILE
from backends.files import PARTIAL, fsync_tree, remove_partial_files, try_lock_folder
from backends.process.conversion import ConversionLimits, convert_in_child
from backends.registry import about
from deploy.runtime.accuracy.sample_check import check_detections
from deploy.runtime.accuracy.step_errors import (
    alternative_errors,
    alternative_label,
    chain_errors,
    first_violation,
    recorded_rule,
    rule_notes,
    step_errors,
)
from deploy.runtime.bundle.integrity import file_entry, hash_file, verify_files
from deploy.runtime.bundle.manifest import (
    SIGNATURE,
    BundleError,
    FileEntry,
    Manifest,
    Verification,
    read_manifest,
    write_manifest,
)
from deploy.runtime.bundle.sample import (
    PICTURE,
    read_sample,
    read_step_sample,
    sample_picture,
    step_sample_name,
)
from deploy.runtime.bundle.signing import read_signed
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.vision.draw import draw
from deploy.runtime.vision.image import load_image

_SIGN = "python -m deploy.bundle sign"


def build_engines(bundle: Path, timeout: float, key: Path | None = None) -> bool:
    """Build the engine of every step that carries its segment, and verify the whole.

    The new manifest takes the old one's place only when everything that it lists is there: until
    then, and after an error, the bundle is as it was. Engines of another machine, from an earlier
    call, are replaced. A signature does not hold for the new manifest, and is removed.

    Args:
        bundle: the bundle.
        timeout: seconds for one engine.
        key: a public key that must have signed the bundle.

    Returns:
        Whether the chain agrees with the model; where it does not, the manifest says ``failed``.

    Raises:
        BundleError: not a bundle, damaged, or one that carries no segments.
        EngineError: this machine cannot build them.
        ConversionError: a converter failed.
    """
    read_manifest(bundle)
    with try_lock_folder(bundle) as alone:
        if not alone:
            raise BundleError(f"bundle '{bundle}' is in use by another process", do="Wait for it.")
        remove_partial_files(bundle)
        return _build_locked(bundle, timeout, key)


def _build_locked(bundle: Path, timeout: float, key: Path | None) -> bool:
    manifest = read_manifest(bundle) if key is None else read_signed(bundle, key)
    steps = [one for one in manifest.artifacts if one.source]
    if not steps:
        raise BundleError(
            f"bundle '{bundle}' has no engines to build",
            do="Its engines were built on the desk; with backend.build=device the device does.",
        )
    for step in steps:
        _check_able(step)
    samples = {step_sample_name(step.name) for step in steps}
    verify_files(bundle, manifest, [*samples, *(name for step in steps for name in step.source)])
    with tempfile.TemporaryDirectory(dir=bundle, prefix=PARTIAL) as scratch:
        built = [_build_engine(bundle, step, Path(scratch), timeout) for step in steps]
        added = [_moved_in(bundle, artifact, Path(scratch)) for artifact in built]
    try:
        finished, good = _verified(bundle, _with(manifest, added, bundle))
        write_manifest(bundle, finished)
        _drop_signature(bundle)
    except BaseException:
        _remove(bundle, added, manifest)
        raise
    for name in {step.name for step in steps}:
        _tidy(bundle, name, finished)
    return good


def _check_able(step: Artifact) -> None:
    if reason := about(step.backend).obstacle():
        raise EngineError(
            f"'{step.backend}' cannot build step '{step.name}' here: {reason}",
            do="Build it on the machine that is to run it.",
        )


def _build_engine(bundle: Path, step: Artifact, scratch: Path, timeout: float) -> Artifact:
    print(f"building {step.name} ...", flush=True)
    segment = Segment(step.name, bundle / step.source[0], step.inputs, step.outputs)
    sample, out = bundle / step_sample_name(step.name), scratch / alternative_label(step)
    built = convert_in_child(
        segment, step.backend, step.options, step.precision, sample, out, ConversionLimits(timeout)
    )
    return replace(built, inputs=step.inputs, outputs=step.outputs, source=step.source)


def _moved_in(bundle: Path, built: Artifact, scratch: Path) -> Artifact:
    """Give an engine a folder named after its contents, beside those that there may be."""
    out = scratch / alternative_label(built)
    folder = f"{built.name}/{hash_file(out / built.files[0]).sha256[:12]}"
    if not (bundle / folder).exists():  # it does where the same engine was built before
        (out / ARTIFACT_FILE).unlink()
        fsync_tree(out)
        out.rename(bundle / folder)
    return replace(built, files=tuple(f"{folder}/{file}" for file in built.files))


def _with(manifest: Manifest, added: Sequence[Artifact], bundle: Path) -> Manifest:
    fresh = {alternative_label(one): one for one in added}
    stale = {
        name for one in manifest.artifacts if alternative_label(one) in fresh for name in one.files
    }
    files = {name: entry for name, entry in manifest.files.items() if name not in stale}
    files |= {name: file_entry(bundle / name, "engine") for one in added for name in one.files}
    return replace(
        manifest,
        steps=tuple(fresh.get(alternative_label(step), step) for step in manifest.steps),
        alternatives=tuple(fresh.get(alternative_label(one), one) for one in manifest.alternatives),
        files=files,
    )


def _verified(bundle: Path, manifest: Manifest) -> tuple[Manifest, bool]:
    with Pipeline.of(bundle, manifest, trusted=True, choices={}) as pipeline:
        gaps = []
        values: dict[str, Array] = {}
        for step, runner in (*pipeline.chain.steps, *pipeline.chain.called):
            if isinstance(step, Artifact):
                sample = read_step_sample(bundle, manifest, step.name)
                values |= {**sample.inputs, **sample.outputs}
                gaps += step_errors(step, runner, values)
        gaps += alternative_errors(bundle, manifest, values)
        whole = read_sample(bundle, manifest)
        gaps += chain_errors(manifest, pipeline.chain, {**whole.inputs, **whole.outputs})
        problem = first_violation(manifest, gaps, "the model")
        for item in gaps:
            print(f"    {item.step:<16} {item.gap.tensor:<16}max_rel {item.gap.max_rel:.2e}")
        good = (problem is None) & check_detections(bundle, pipeline)
        files = {**manifest.files, **_drawing(bundle, manifest, pipeline)}
    if problem is not None:
        print(f"BAD {problem}")
    notes = rule_notes(recorded_rule(manifest))
    verification = Verification("passed" if good else "failed", tuple(gaps), notes)
    return replace(manifest, files=files, verification=verification), good


def _drawing(bundle: Path, manifest: Manifest, pipeline: Pipeline) -> dict[str, FileEntry]:
    picture = sample_picture(bundle, manifest)
    if picture is None or pipeline.post is None:
        return {}
    pixels = load_image(picture)
    found = pipeline(pixels).above(CONFIDENT)
    draw(pixels, found, manifest.classes).save(bundle / PICTURE)
    return {PICTURE: file_entry(bundle / PICTURE, "picture")}


def _drop_signature(bundle: Path) -> None:
    if (bundle / SIGNATURE).exists():
        (bundle / SIGNATURE).unlink()
        print(f"the signature of the bundle as it came is gone; sign it: {_SIGN} {bundle} KEYFILE")


def _tidy(bundle: Path, step: str, kept: Manifest) -> None:
    """Delete engines of earlier calls, also of those that were killed."""
    for path in sorted((bundle / step).rglob("*"), reverse=True):
        if path.is_dir():
            with suppress(OSError):  # others are still in there
                path.rmdir()
        elif path.relative_to(bundle).as_posix() not in kept.files:
            path.unlink()


def _remove(bundle: Path, steps: Sequence[Artifact], kept: Manifest) -> None:
    """Delete the files of steps that the manifest does not list."""
    for name in (name for step in steps for name in step.files if name not in kept.files):
        (bundle / name).unlink(missing_ok=True)
        with suppress(OSError):  # others are still in there
            (bundle / name).parent.rmdir()
