"""``inspect FILE_OR_MODEL``: where a model can be cut, before anything is converted."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from backends.contract import DeployError
from deploy.analysis.inspect_tables import Inspection, inspection_json, show
from deploy.analysis.plan import Plan, plan_segment, plan_svg
from deploy.analysis.survey import survey
from deploy.cli.compose import compose
from deploy.export.onnx_source import complete_inputs, with_open_sizes
from deploy.export.source import source_of
from deploy.graph.exported import Exported
from deploy.partition.host_steps import resolve_host_steps, select_post_step
from deploy.partition.segments import Partition, partition_recipe
from deploy.pipeline.work_folder import check_own_folder
from deploy.recipe.sample_inputs import sample_inputs
from deploy.recipe.schema import Recipe, RecipeError
from deploy.recipe.validate import check_recipe
from deploy.report.progress import plain_console

_OURS = {"export", "segments", "plan.json", "plan.svg"}


def main() -> None:
    """Look at one model."""
    asked = _parser().parse_intermixed_args()
    try:
        segments = _inspect(asked)
        if asked.netron is not None:
            _open_netron(asked.netron, segments)
    except (DeployError, OSError) as error:
        if "DEPLOY_TRACEBACK" in os.environ:
            raise
        sys.exit(f"error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.inspect",
        description="List marks and legal cuts, and draw the segments that a recipe would give.",
    )
    parser.add_argument("what", metavar="FILE_OR_MODEL", help="an ONNX file, or a model of conf/")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="as of python -m deploy: +partition=PRESET, 'partition.cuts=[a, b]'",
    )
    parser.add_argument("--config-dir", type=Path, help="a folder with models of your own")
    parser.add_argument("--out", type=Path, help="a folder; by default plans/<model>")
    parser.add_argument("--all", action="store_true", help="list every tensor that can be cut at")
    parser.add_argument("--json", action="store_true", help="print plan.json, not the tables")
    parser.add_argument(
        "--netron", nargs="?", const="", metavar="SEGMENT", help="open a segment in Netron"
    )
    return parser


def _inspect(asked: argparse.Namespace) -> dict[str, Path]:
    """Print and write what there is to see; returns the files of the segments."""
    recipe = _recipe(asked.what, asked.overrides, asked.config_dir)
    out = asked.out or Path("plans") / recipe.model.name
    check_own_folder(out, _OURS, "Pass another --out FOLDER.")
    shutil.rmtree(out, ignore_errors=True)
    source = source_of(recipe)
    exported = source.export(sample_inputs(recipe.model, []), out / "export")
    console = plain_console()
    found = Inspection(recipe.model.name, exported.inputs, survey(exported))
    try:
        cutting = partition_recipe(recipe, exported, out / "segments")
    except DeployError:
        if not asked.json:
            show(console, found, every=asked.all)  # what can be chosen instead
        raise
    found = replace(found, plan=_plan(recipe, exported, cutting))
    files = {segment.name: segment.onnx for segment in cutting.segments}
    text = json.dumps(inspection_json(found), indent=2)
    out.mkdir(parents=True, exist_ok=True)
    (out / "plan.json").write_text(text + "\n")
    (out / "plan.svg").write_text(plan_svg(recipe.model.name, found.made))
    if asked.json:
        print(text)
        return files
    show(console, found, every=asked.all)
    first = next(iter(files.values()))
    for line in (f"drawing     {out / 'plan.svg'}", f"to look in  netron {first}  (or --netron)"):
        console.print(line, highlight=False, soft_wrap=True)
    return files


def _recipe(what: str, overrides: Sequence[str], folder: Path | None) -> Recipe:
    if not (what.endswith(".onnx") or Path(what).exists()):
        recipe = compose([f"+model={what}", *overrides], folder)
    else:
        quoted = what.replace("\\", "\\\\").replace("'", "\\'")
        recipe = compose(["+model=onnx", f"model.file='{quoted}'", *overrides], folder)
        recipe = replace(recipe, model=complete_inputs(with_open_sizes(recipe.model)))
    check_recipe(recipe)
    return recipe


def _plan(recipe: Recipe, exported: Exported, cutting: Partition) -> Plan:
    segments = tuple(plan_segment(segment) for segment in cutting.segments)
    between = resolve_host_steps(recipe.partition.host, cutting.segments, exported.inputs)
    made = {spec.name for one in segments for spec in one.segment.outputs}
    made |= {spec.name for step in between for spec in step.outputs}
    inputs = {
        spec.name: spec
        for one in segments
        for spec in one.segment.inputs
        if spec.name not in made and cutting.points[spec.name] in recipe.model.inputs
    }
    plan = Plan(segments, tuple(inputs.values()), cutting.results, between=between)
    post = select_post_step(recipe.model, [spec.name for _, spec in plan.ends()], cutting.marks)
    return replace(plan, host=post.id) if post is not None else plan


def _open_netron(segment: str, files: dict[str, Path]) -> None:
    name = segment or next(iter(files))
    if name not in files:
        raise RecipeError("--netron", expected=f"one of {', '.join(files)}", got=name)
    if find_spec("netron") is None:
        raise RecipeError("Netron is not installed", do="Run: pip install netron")
    subprocess.run([sys.executable, "-m", "netron", "--browse", str(files[name])], check=False)
