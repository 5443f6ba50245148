"""Inspection of a model: its cut points, and the segments that a recipe's cuts give."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from backends.contract import DeployError, Segment
from backends.registry import about, names
from backends.support import Support
from deploy.analysis.inspect_tables import Inspection, inspection_json, show
from deploy.analysis.plan import Plan, plan_segment, plan_svg
from deploy.analysis.survey import survey
from deploy.convert import parsed_options
from deploy.export.source import source_of
from deploy.graph.exported import Exported
from deploy.partition.host_steps import resolve_host_steps, select_post_step
from deploy.partition.segments import Partition, partition_recipe
from deploy.pipeline.chain_plan import ChainPlan
from deploy.pipeline.placement import PlacedChain, plan_chain
from deploy.pipeline.work_folder import check_own_folder
from deploy.recipe.output_paths import WorkFile
from deploy.recipe.sample_inputs import sample_inputs
from deploy.recipe.schema import Recipe, RecipeError
from deploy.report.console import plain_console
from deploy.runtime.bundle.manifest import HostStep

_OUTPUTS = {"export", "segments", "placement", "plan.json", "plan.svg"}


def inspect_model(recipe: Recipe, out: Path, every_tensor: bool, as_json: bool) -> dict[str, Path]:
    """Print the cut points of a model, and print and write what its partition would give.

    Args:
        recipe: a checked recipe.
        out: the folder for plan.json, plan.svg and the segments.
        every_tensor: whether to list all tensors that can be cut at.
        as_json: whether to print plan.json in the place of tables.

    Returns:
        The ONNX file of each segment, by its name.

    Raises:
        RecipeError: the folder holds something else.
        DeployError: the model cannot be read, or cannot be cut as the recipe says.
    """
    check_own_folder(out, _OUTPUTS, "Pass another --out FOLDER.")
    shutil.rmtree(out, ignore_errors=True)
    source = source_of(recipe)
    exported = source.export(sample_inputs(recipe.model, []), out / "export")
    console = plain_console()
    inspection = Inspection(recipe.model.name, exported.inputs, survey(exported))
    try:
        partitioned = partition_recipe(recipe, exported, out / "segments")
    except DeployError:
        if not as_json:
            show(console, inspection, every=every_tensor)  # the cut points that there are
        raise
    placement = None
    if recipe.partition.auto is not None:
        placed = _placed(recipe, exported, partitioned, out)
        recipe, partitioned, placement = placed.recipe, placed.plan.partition, placed.record
    plan = replace(_plan(recipe, exported, partitioned), placement=placement)
    inspection = replace(inspection, plan=plan)
    files = {segment.name: segment.onnx for segment in partitioned.segments}
    text = json.dumps(inspection_json(inspection), indent=2)
    out.mkdir(parents=True, exist_ok=True)
    (out / "plan.json").write_text(text + "\n")
    svg = plan_svg(recipe.model.name, inspection.planned)
    (out / "plan.svg").write_text(svg, encoding="utf-8")
    if as_json:
        print(text)
        return files
    show(console, inspection, every=every_tensor)
    first = next(iter(files.values()))
    for line in (f"drawing     {out / 'plan.svg'}", f"to look in  netron {first}  (or --netron)"):
        console.print(line, highlight=False, soft_wrap=True)
    return files


def _placed(recipe: Recipe, exported: Exported, partitioned: Partition, out: Path) -> PlacedChain:
    """The partition with its segments divided by the word of the preferred engines."""
    hosts = recipe.partition.host
    host = resolve_host_steps(hosts, partitioned.segments, exported.inputs)
    try:
        return plan_chain(recipe, ChainPlan(partitioned, host, {}, ()), out)
    finally:
        shutil.rmtree(out / WorkFile.PLACEMENT, ignore_errors=True)


def _plan(recipe: Recipe, exported: Exported, partitioned: Partition) -> Plan:
    segments = tuple(
        plan_segment(segment, _support(recipe, segment)) for segment in partitioned.segments
    )
    between = resolve_host_steps(recipe.partition.host, partitioned.segments, exported.inputs)
    steps: list[Segment | HostStep] = [*partitioned.segments, *between]
    produced = {spec.name for step in steps for spec in step.outputs}
    inputs = {
        spec.name: spec
        for segment in partitioned.segments
        for spec in segment.inputs
        if spec.name not in produced and partitioned.points[spec.name] in recipe.model.inputs
    }
    plan = Plan(segments, tuple(inputs.values()), partitioned.results, between=between)
    post = select_post_step(
        recipe.model, [spec.name for _, spec in plan.chain_outputs()], partitioned.marks
    )
    return replace(plan, host=post.id) if post is not None else plan


def _support(recipe: Recipe, segment: Segment) -> Support | None:
    """What the parser of the engine says, where the recipe names an engine that has one."""
    if recipe.partition.auto is not None:
        return None  # the plan has the reasons
    backend = recipe.backend_of(segment.name)
    ask = about(backend.name).support if backend.name in names() else None
    return ask(segment, parsed_options(backend)) if ask is not None else None


def open_netron(segment: str, files: Mapping[str, Path]) -> None:
    """Open a segment in Netron; an empty name is the first.

    Raises:
        RecipeError: there is no such segment, or Netron is not installed.
    """
    name = segment or next(iter(files))
    if name not in files:
        raise RecipeError("--netron", expected=f"one of {', '.join(files)}", got=name)
    if find_spec("netron") is None:
        raise RecipeError("Netron is not installed", do="Run: pip install netron")
    subprocess.run([sys.executable, "-m", "netron", "--browse", str(files[name])], check=False)
