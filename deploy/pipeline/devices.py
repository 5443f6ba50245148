"""The stage of each device: the published bundle is measured there, and its manifest says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from backends.contract import DeployError
from deploy.devices.errors import DeviceError
from deploy.devices.measure import measure_on
from deploy.devices.work import DeviceWork
from deploy.pipeline.preconditions import key_file
from deploy.recipe.devices import DeviceRecipe
from deploy.recipe.schema import Recipe
from deploy.report.device_results import DeviceOutcome, device_entry
from deploy.report.progress import Progress, Stage
from deploy.runtime.accuracy.step_errors import tolerances
from deploy.runtime.bundle.manifest import SIGNATURE, Manifest, write_manifest
from deploy.runtime.bundle.signing import sign
from deploy.runtime.device_record import DeviceRecord
from deploy.runtime.execution.own_posts import word_for_command

_ROUNDS = 5  # where the recipe has none


def measure_on_devices(
    recipe: Recipe, bundle: Path, manifest: Manifest, progress: Progress, in_turns: bool = False
) -> tuple[Manifest, tuple[DeviceOutcome, ...]]:
    """Measure a bundle on each device of its recipe; one that fails ends no other.

    Args:
        recipe: of the run.
        bundle: the published bundle.
        manifest: its manifest.
        progress: shows a stage for each device.
        in_turns: as of ``run_pipeline``.

    Returns:
        The manifest with what was measured, as the bundle has it now, and what became of each.
    """
    work = _work(recipe, manifest)
    outcomes = tuple(
        _outcome(
            device,
            replace(work, rounds=0) if in_turns and device.host is None else work,
            bundle,
            manifest,
            progress,
        )
        for device in recipe.device
    )
    entries = tuple(device_entry(one.record) for one in outcomes if one.record is not None)
    if not entries:
        return manifest, outcomes
    measured = replace(manifest, devices=entries)
    _replace_manifest(bundle, measured, recipe)
    return measured, outcomes


def _outcome(
    device: DeviceRecipe, work: DeviceWork, bundle: Path, manifest: Manifest, progress: Progress
) -> DeviceOutcome:
    is_local = device.host is None
    with progress.stage(
        f"device {device.name}", "this machine" if is_local else "connecting"
    ) as stage:
        try:
            record = _measured(device, work, bundle, manifest, stage)
        except (DeployError, OSError) as error:
            return DeviceOutcome(device.name, None, str(error), is_local)
        problem = f"device '{device.name}': {record.problem}" if record.problem else ""
        outcome = DeviceOutcome(device.name, record, problem, is_local)
        stage.gap = outcome.gap
    return outcome


def _measured(
    device: DeviceRecipe, work: DeviceWork, bundle: Path, manifest: Manifest, stage: Stage
) -> DeviceRecord:
    def tell(line: str) -> None:
        stage.activity = line

    record = measure_on(device, bundle, work, tell)
    known = tolerances(manifest).precisions
    if strange := next((item.step for item in record.gaps if item.step not in known), None):
        raise DeviceError(
            f"device '{device.name}' has answered errors of another bundle",
            expected=f"of {', '.join(known)}",
            got=strange,
        )
    return record


def _work(recipe: Recipe, manifest: Manifest) -> DeviceWork:
    """What is measured on each device."""
    dataset = recipe.model.eval if recipe.verify.eval else None
    return DeviceWork(
        rounds=(recipe.bench.rounds or _ROUNDS) if recipe.bench.runs else 0,
        seconds=recipe.bench.seconds,
        dataset=Path(dataset).expanduser() if dataset else None,
        post=word_for_command(manifest.post),
    )


def _replace_manifest(bundle: Path, manifest: Manifest, recipe: Recipe) -> None:
    """Write another manifest into a bundle; in no moment has it a signature that does not fit."""
    (bundle / SIGNATURE).unlink(missing_ok=True)
    write_manifest(bundle, manifest)
    if recipe.bundle.sign is not None:
        sign(bundle, key_file(recipe.bundle.sign))
