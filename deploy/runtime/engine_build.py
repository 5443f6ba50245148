"""Builds the engines of a bundle where they run, and verifies the chain there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from backends.acceptance import CONFIDENT, AcceptanceRule
from backends.contract import Array, Artifact, EngineError, Segment
from backends.conversion_files import ARTIFACT_FILE
from backends.files import (
    fsync_tree,
    remove_partial_files,
    temporary_folder,
    try_lock_folder,
)
from backends.process.conversion import ConversionLimits, convert_in_child
from backends.registry import about
from deploy.runtime.accuracy.sample_check import check_result
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
    StepMetrics,
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
from deploy.runtime.bundle.trust import is_own, remember_own
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.vision.image import load_image

_SIGN = "python -m deploy bundle sign"


def build_engines(bundle: Path, timeout: float, key: Path | None = None) -> bool:
    """Build the engine of every step that carries its segment, and verify the chain.

    Engines that the desk built but could not run are not built again: they are verified.

    The new manifest replaces the old one only when every file that it lists is there: until then,
    and after an error, the bundle is as it was. Engines that an earlier call built on another
    machine are replaced. A signature does not fit the new manifest, and is removed.

    Args:
        bundle: the bundle.
        timeout: seconds for one engine.
        key: a public key that must have signed the bundle.

    Returns:
        Whether the chain agrees with the model; where it does not, the manifest says ``failed``.

    Raises:
        BundleError: not a bundle, damaged, in use, or with nothing to build or verify.
        EngineError: this machine cannot build them.
        ConversionError: a converter failed.
    """
    read_manifest(bundle)
    with try_lock_folder(bundle) as locked:
        if not locked:
            raise BundleError(f"bundle '{bundle}' is in use by another process", do="Wait for it.")
        remove_partial_files(bundle)
        return _build_locked(bundle, timeout, key)


def _build_locked(bundle: Path, timeout: float, key: Path | None) -> bool:
    manifest = read_manifest(bundle) if key is None else read_signed(bundle, key)
    steps = _checked_steps(bundle, manifest)
    own = is_own(manifest)
    names = {step.name for step in steps}
    try:
        with temporary_folder(bundle) as scratch:
            rule = recorded_rule(manifest)
            converted = [_convert(bundle, step, scratch, timeout, rule) for step in steps]
            engines = [_move_in(bundle, artifact, scratch) for artifact in converted]
            built = _with_engines(bundle, manifest, engines)
            drawing = scratch / Path(PICTURE).name
            new, agrees = _verify(bundle, built, drawing, trusted=own or key is not None)
            _uninterrupted(lambda: _publish(bundle, new, drawing, own))
    finally:
        # which manifest is there decides: an interruption may come when the new one is in place
        _uninterrupted(lambda: _remove_unlisted(bundle, names, read_manifest(bundle)))
    return agrees


def _publish(bundle: Path, manifest: Manifest, drawing: Path, own: bool) -> None:
    """Put the new manifest, and what depends on it, in place; may be called again."""
    write_manifest(bundle, manifest)
    if drawing.exists():
        drawing.replace(bundle / PICTURE)
    if own:
        remember_own(manifest)
    _remove_signature(bundle)


def _uninterrupted(act: Callable[[], None]) -> None:
    """Call what can be repeated; an interruption, which comes once, is raised when it is done."""
    try:
        act()
    except KeyboardInterrupt:
        act()
        raise


def _checked_steps(bundle: Path, manifest: Manifest) -> list[Artifact]:
    """The artifacts to build, which carry their segment, after every check that needs no engine."""
    steps = [artifact for artifact in manifest.artifacts if artifact.source]
    unverified = [artifact for artifact in manifest.artifacts if artifact.unverified]
    if not steps and not unverified:
        raise BundleError(
            f"bundle '{bundle}' has no engines to build or verify",
            do="The desk built and verified them; with backend.build=device the device builds "
            f"them. To compare them again: python -m deploy.runtime check {bundle}",
        )
    for step in (*steps, *unverified):
        if reason := about(step.backend).obstacle():
            raise EngineError(
                f"'{step.backend}' cannot {'build' if step.source else 'run'} step '{step.name}' "
                f"here: {reason}",
                do="Build it on the machine that is to run it.",
            )
    samples = {step_sample_name(step.name) for step in (*steps, *unverified)}
    files = [name for step in steps for name in step.source]
    files += [name for artifact in unverified for name in artifact.files]
    verify_files(bundle, manifest, [*samples, *files])
    return steps


def _convert(
    bundle: Path, step: Artifact, scratch: Path, timeout: float, rule: AcceptanceRule
) -> Artifact:
    print(f"building {step.name} ...", flush=True)
    segment = Segment(step.name, bundle / step.source[0], step.inputs, step.outputs)
    sample, out = bundle / step_sample_name(step.name), scratch / alternative_label(step)
    limits = ConversionLimits(timeout)
    artifact = convert_in_child(
        segment, step.backend, step.options, step.precision, sample, out, limits, rule
    )
    return replace(artifact, inputs=step.inputs, outputs=step.outputs, source=step.source)


def _move_in(bundle: Path, artifact: Artifact, scratch: Path) -> Artifact:
    """Move an engine into a folder named after its content, next to those of earlier calls."""
    out = scratch / alternative_label(artifact)
    folder = f"{artifact.name}/{hash_file(out / artifact.files[0]).sha256[:12]}"
    if not (bundle / folder).exists():  # it does where the same engine was built before
        (out / ARTIFACT_FILE).unlink()
        fsync_tree(out)
        out.rename(bundle / folder)
    return replace(artifact, files=tuple(f"{folder}/{file}" for file in artifact.files))


def _with_engines(bundle: Path, manifest: Manifest, engines: Sequence[Artifact]) -> Manifest:
    """The manifest with these engines, and their files, in the place of earlier ones."""
    new = {alternative_label(engine): engine for engine in engines}
    stale = {
        name
        for artifact in manifest.artifacts
        if alternative_label(artifact) in new
        for name in artifact.files
    }
    files = {name: entry for name, entry in manifest.files.items() if name not in stale}
    files |= {
        name: file_entry(bundle / name, "engine") for engine in engines for name in engine.files
    }
    return replace(
        manifest,
        steps=_replaced(manifest.steps, new),
        alternatives=_replaced(manifest.alternatives, new),
        files=files,
    )


def _replaced(
    artifacts: Sequence[Artifact], engines: Mapping[str, Artifact]
) -> tuple[Artifact, ...]:
    """These artifacts with new engines; all of them are about to be verified."""
    return tuple(
        replace(engines.get(alternative_label(artifact), artifact), unverified=False)
        for artifact in artifacts
    )


def _verify(
    bundle: Path, manifest: Manifest, drawing: Path, trusted: bool
) -> tuple[Manifest, bool]:
    """Compare each step, the chain and the result with the model's; print the errors.

    The result is drawn into the file ``drawing``, where the bundle has a sample picture.

    Returns:
        The manifest with the result, and whether all are within their tolerances.
    """
    with Pipeline.of(bundle, manifest, trusted=trusted, choices={}) as pipeline:
        for note in pipeline.chain.notes():
            print(f"    {note}")
        errors = measure_errors(bundle, manifest, pipeline, trusted)
        for item in errors:
            print(f"    {item.step:<16} {item.gap.tensor:<16}max_rel {item.gap.max_rel:.2e}")
        violation = first_violation(manifest, errors, "the model")
        agrees = (violation is None) & check_result(bundle, pipeline)
        files = {**manifest.files, **_draw_sample(bundle, manifest, pipeline, drawing)}
    if violation is not None:
        print(f"BAD {violation}")
    notes = rule_notes(recorded_rule(manifest))
    verification = Verification("passed" if agrees else "failed", tuple(errors), notes)
    return replace(manifest, files=files, verification=verification), agrees


def measure_errors(
    bundle: Path, manifest: Manifest, pipeline: Pipeline, trusted: bool
) -> list[StepMetrics]:
    """The errors of every step, every alternative that is built, and the chain.

    Args:
        bundle: its folder, with a sample of each step.
        manifest: its manifest.
        pipeline: the bundle with these steps, open.
        trusted: as of ``Pipeline.open``.
    """
    errors: list[StepMetrics] = []
    reference: dict[str, Array] = {}
    for step, runner in (*pipeline.chain.steps, *pipeline.chain.called):
        if isinstance(step, Artifact):
            sample = read_step_sample(bundle, manifest, step.name)
            reference |= {**sample.inputs, **sample.outputs}
            errors += step_errors(step, runner, reference)
    errors += alternative_errors(bundle, manifest, reference, trusted)
    sample = read_sample(bundle, manifest)
    errors += chain_errors(manifest, pipeline.chain, {**sample.inputs, **sample.outputs})
    return errors


def _draw_sample(
    bundle: Path, manifest: Manifest, pipeline: Pipeline, drawing: Path
) -> dict[str, FileEntry]:
    """Draw the result for the sample picture; the entry of the bundle's file, if any."""
    picture = sample_picture(bundle, manifest)
    if picture is None or pipeline.post is None:
        return {}
    pixels = load_image(picture)
    pipeline(pixels).above(CONFIDENT).draw(pixels, manifest.classes).save(drawing)
    return {PICTURE: file_entry(drawing, "picture")}


def _remove_signature(bundle: Path) -> None:
    if (bundle / SIGNATURE).exists():
        (bundle / SIGNATURE).unlink()
        print(f"the signature of the bundle as it came is gone; sign it: {_SIGN} {bundle} KEYFILE")


def _remove_unlisted(bundle: Path, steps: Iterable[str], manifest: Manifest) -> None:
    """Delete engines that a manifest does not list, also those of calls that were killed."""
    paths = (path for step in steps for path in sorted((bundle / step).rglob("*"), reverse=True))
    for path in paths:
        if path.is_dir():
            with suppress(OSError):  # the folder is not empty
                path.rmdir()
        elif path.relative_to(bundle).as_posix() not in manifest.files:
            path.unlink()
