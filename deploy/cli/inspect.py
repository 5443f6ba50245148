"""``inspect FILE_OR_MODEL``: where a model can be cut, before anything is converted."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from deploy.recipe.schema import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    parser.description = (
        "List the marks and cut points of a model with what crosses there, and draw the segments "
        "that a partition would give."
    )
    parser.epilog = "example: %(prog)s yolov3 partition=by_stage"
    parser.add_argument(
        "model", metavar="FILE_OR_MODEL", help="an ONNX file, or a model of the configuration"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="as of the main job: partition=PRESET, 'partition.cuts=[a, b]'",
    )
    parser.add_argument(
        "--config-dir", type=Path, metavar="DIR", help="a folder with models of your own"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="for the plan (default: plans/<model>)"
    )
    parser.add_argument("--all", action="store_true", help="list every tensor that can be cut at")
    parser.add_argument("--json", action="store_true", help="print plan.json in place of tables")
    parser.add_argument(
        "--netron",
        nargs="?",
        const="",
        metavar="SEGMENT",
        help="open a segment in Netron (default: the first)",
    )


def run(arguments: argparse.Namespace) -> bool:
    """Print and write the plan.

    Raises:
        DeployError: the model cannot be read, or not be cut so.
    """
    recipe = _recipe(arguments)
    # torch takes longer to import than anything above takes to be refused
    from deploy.analysis.inspect import inspect_model, open_netron

    segments = inspect_model(
        recipe, arguments.out or Path("plans") / recipe.model.name, arguments.all, arguments.json
    )
    if arguments.netron is not None:
        open_netron(arguments.netron, segments)
    return True


def _recipe(arguments: argparse.Namespace) -> Recipe:
    from deploy.cli.compose import compose
    from deploy.recipe.automatic import with_possible_builds
    from deploy.recipe.post_params import with_known_params
    from deploy.recipe.validate import check_backends, check_recipe

    model, folder = _model_word(arguments.model), arguments.config_dir
    if not (model.endswith(".onnx") or Path(model).exists()):
        recipe = compose([f"+model={model}", *arguments.overrides], folder)
    else:
        from deploy.export.onnx_source import complete_inputs, with_open_sizes

        quoted = model.replace("\\", "\\\\").replace("'", "\\'")
        words = ["+model=onnx", f"model.file='{quoted}'", *arguments.overrides]
        recipe = compose(words, folder)
        # engines have to know the sizes of what they shall take
        sized = recipe.model if recipe.partition.auto else with_open_sizes(recipe.model)
        recipe = replace(recipe, model=complete_inputs(sized))
    recipe = replace(recipe, model=with_known_params(recipe.model))
    check_recipe(recipe)
    if recipe.partition.auto is None:
        return recipe
    recipe = with_possible_builds(recipe)
    check_backends(recipe)
    return recipe


def _model_word(word: str) -> str:
    """The file or the name of the model, also where it is written as for the main job."""
    return word if Path(word).exists() else word.removeprefix("+").removeprefix("model=")
