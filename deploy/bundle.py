"""Artifacts -> a bundle: a folder with manifest.json, the files it lists, and a sample."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from PIL import Image

from backends.acceptance import CONFIDENT
from backends.contract import Artifact, Specs, Tensors
from backends.conversion_files import write_sample
from backends.files import fsync_path, fsync_tree, temporary_folder
from deploy.convert import Converted
from deploy.recipe.preprocessing import preprocessing
from deploy.recipe.schema import ModelRecipe, RecipeError
from deploy.runtime.bundle.engine_choice import engine_name
from deploy.runtime.bundle.integrity import file_entry
from deploy.runtime.bundle.manifest import (
    HANDOVER,
    MANIFEST,
    HostStep,
    Kind,
    Manifest,
    StateTensor,
    TextStep,
    Verification,
    write_manifest,
)
from deploy.runtime.bundle.sample import (
    IMAGE,
    PICTURE,
    RESULT,
    STATE,
    TENSORS,
    step_sample_name,
)
from deploy.runtime.execution.schedule import Step
from deploy.runtime.results.result import Result
from deploy.runtime.vision.image import load_image

_QUICK = 1  # level of compression of PNG: a third larger, four times as fast as the usual one
_DESK_TOOLS = ("backend-chain", "torch", "onnx", "onnx-ir", "onnxscript", "numpy")


def check_target(bundle: Path) -> None:
    """Refuse a folder that the bundle cannot be written to, before any work is done.

    Raises:
        RecipeError: the folder holds something else, or cannot be written.
    """
    if bundle.exists() and not (bundle / MANIFEST).is_file() and not _is_empty_folder(bundle):
        raise RecipeError(
            f"bundle={bundle}",
            expected="a new folder, or an earlier bundle to replace",
            got="something else",
            do="Pass another bundle=FOLDER.",
        )
    parent = next(folder for folder in bundle.absolute().parents if folder.exists())
    try:
        with temporary_folder(parent):
            pass  # permission bits mislead for root and on some mounts
    except OSError as error:
        raise RecipeError(
            f"bundle={bundle}",
            expected="a folder that can be written",
            got=f"{parent} ({error.strerror})",
            do="Pass another bundle=FOLDER.",
        ) from error


def assemble(
    model: ModelRecipe,
    converted: Sequence[Converted],
    out: Path,
    results: Sequence[str] = (),
    host: Sequence[HostStep] = (),
    alternatives: Sequence[Converted] = (),
    state: Sequence[StateTensor] = (),
) -> Manifest:
    """Copy the artifacts' files into the new folder ``out``, and describe them as a manifest.

    Args:
        model: the model's recipe.
        converted: one artifact for each segment.
        out: the folder.
        results: tensors that are outputs of the chain even where a later step takes them.
        host: the host steps of the chain.
        alternatives: further artifacts that may run in the place of these.
        state: what the chain carries between calls.

    Returns:
        The manifest, not yet written: without post-processing, sample and verification.

    Raises:
        RecipeError: two steps have one tensor in different dtypes.
    """
    _check_dtypes([*(item.artifact for item in converted), *host])
    steps = tuple(_copy_artifact(item, out, item.artifact.name) for item in converted)
    other_artifacts = tuple(
        _copy_artifact(item, out, f"{item.artifact.name}/{engine_name(item.artifact)}")
        for item in alternatives
    )
    if any(artifact.pending for artifact in (*steps, *other_artifacts)):
        _copy_samples(converted, out)
    called = {name for step in host for name in step.calls}
    inputs, outputs = chain_specs(
        [*(step for step in steps if step.name not in called), *host], results
    )
    places = {name: place for place, name in enumerate(model.inputs)}
    inputs = tuple(sorted(inputs, key=lambda spec: places.get(spec.name, len(places))))
    carried = {tensor.input for tensor in state}
    pre = preprocessing(model, model.pre) if model.pre else None
    given = {spec.name for spec in inputs if spec.name not in carried}
    takes_picture = pre is not None and given == {pre.input, *pre.values}
    return Manifest(
        model=model.name,
        classes=tuple(model.classes),
        inputs=inputs,
        outputs=outputs,
        steps=steps,
        pre=pre if takes_picture else None,
        post=None,
        sample=None,
        files={},
        tools=tool_versions(),
        verification=Verification(status="not run", gaps=(), notes={}),
        text=TextStep(model.text.id, model.text.params) if model.text else None,
        host=tuple(host),
        alternatives=other_artifacts,
        state=tuple(state),
    )


def write_state(out: Path, manifest: Manifest, initial: Tensors) -> Manifest:
    """Write the first values of a state into the bundle; without a state nothing is done.

    Args:
        out: the bundle's folder.
        manifest: its manifest.
        initial: the values, by the names of the inputs.
    """
    if not manifest.state:
        return manifest
    carried = {tensor.input for tensor in manifest.state}
    specs = tuple(spec for spec in manifest.inputs if spec.name in carried)
    write_sample(out / STATE, specs, (), initial, compressed=False)
    return replace(manifest, initial_state=STATE)


def chain_specs(steps: Sequence[Step], results: Sequence[str] = ()) -> tuple[Specs, Specs]:
    """The inputs and outputs of a chain.

    Args:
        steps: of the chain.
        results: tensors that are outputs even where a step takes them; inputs of the chain too.
            They come first, in this order.

    Returns:
        The tensors that a step takes and no step produces; and those that no step takes, or that
        are among ``results``.
    """
    produced = {spec.name: spec for step in steps for spec in step.outputs}
    taken = {spec.name: spec for step in steps for spec in step.inputs}
    inputs = {name: spec for name, spec in taken.items() if name not in produced}
    outputs = {
        name: spec for name, spec in produced.items() if name not in taken or name in results
    }
    outputs |= {name: spec for name, spec in inputs.items() if name in results}
    named = [name for name in dict.fromkeys((*results, *outputs)) if name in outputs]
    return tuple(inputs.values()), tuple(outputs[name] for name in named)


def write_picture(
    out: Path, picture: Path, expected: Result, actual: Result | None, classes: Sequence[str]
) -> None:
    """Write the sample picture, the reference's result for it, and a drawing of the chain's.

    Args:
        out: the bundle's folder.
        picture: the file of the picture.
        expected: the result of PyTorch.
        actual: the result of the chain, or None where it cannot run yet.
        classes: the names of the labels.
    """
    pixels = load_image(picture)
    Image.fromarray(pixels).save(out / IMAGE, compress_level=_QUICK)
    arrays = {name: np.asarray(array, order="C") for name, array in expected.to_arrays().items()}
    np.savez(out / RESULT, allow_pickle=False, **arrays)
    if actual is not None:
        actual.above(CONFIDENT).draw(pixels, classes).save(out / PICTURE, compress_level=_QUICK)


def seal(out: Path, manifest: Manifest) -> Manifest:
    """Write the manifest, with every file and its hash; returns it as written."""
    paths = sorted(path for path in out.rglob("*") if path.is_file() and path.name != MANIFEST)
    names = [path.relative_to(out).as_posix() for path in paths]
    files = {name: file_entry(out / name, _kind(manifest, name)) for name in names}
    sealed = replace(manifest, files=files, sample=TENSORS if TENSORS in files else None)
    write_manifest(out, sealed)
    return sealed


def publish(staging: Path, bundle: Path) -> None:
    """Rename the finished bundle to its name; an earlier one is replaced as a whole."""
    fsync_tree(staging)
    old = _replaced(staging)
    if bundle.exists():
        bundle.rename(old)
    staging.rename(bundle)
    fsync_path(bundle.absolute().parent)
    shutil.rmtree(old, ignore_errors=True)


def restore_previous(staging: Path, bundle: Path) -> None:
    """Restore the earlier bundle of a run that was killed between the renames of ``publish``."""
    if _replaced(staging).is_dir() and not bundle.exists():
        _replaced(staging).rename(bundle)


def _replaced(staging: Path) -> Path:
    return staging.with_name(f"{staging.name}.old")


def _kind(manifest: Manifest, name: str) -> Kind:
    if any(name in artifact.files for artifact in manifest.artifacts):
        return "engine"
    if any(name in artifact.source for artifact in manifest.artifacts):
        return "source"
    if name == manifest.initial_state:
        return "state"
    if name == HANDOVER:
        return "handover"
    return "sample" if name.startswith("sample/") else "picture"


def tool_versions() -> Mapping[str, str]:
    """The versions of the libraries that wrote the bundle, of those that are installed."""
    versions: dict[str, str] = {}
    for name in _DESK_TOOLS:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _check_dtypes(steps: Sequence[Step]) -> None:
    """Steps that share a tensor have it in one dtype; a chain converts only fp16 and fp32."""
    seen: dict[str, tuple[str, str]] = {}
    for step in steps:
        for spec in (*step.inputs, *step.outputs):
            dtype, first_step = seen.setdefault(spec.name, (spec.dtype, step.name))
            if dtype != spec.dtype and {dtype, spec.dtype} != {"float16", "float32"}:
                raise RecipeError(
                    f"tensor '{spec.name}' of step '{step.name}'",
                    expected=f"{dtype}, as step '{first_step}' has it",
                    got=spec.dtype,
                )


def _copy_artifact(item: Converted, out: Path, folder: str) -> Artifact:
    """Copy an artifact's files; the returned one has them relative to the bundle."""
    artifact = item.artifact
    for name in (*artifact.files, *artifact.source):
        target = out / folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(item.root / name, target)
    files, source = (
        tuple(f"{folder}/{name}" for name in names) for names in (artifact.files, artifact.source)
    )
    return replace(artifact, files=files, source=source)


def _copy_samples(converted: Sequence[Converted], out: Path) -> None:
    """Copy the sample of each segment, with which the device checks the engines that it builds."""
    for item in converted:
        target = out / step_sample_name(item.artifact.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(item.sample, target)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


if __name__ == "__main__":  # the command of this name, until 0.3
    from deploy.cli.old_names import run_renamed_command

    run_renamed_command("deploy.bundle")
