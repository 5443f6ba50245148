"""The command import-mmdeploy: a deployment configuration of MMDeploy as a recipe."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.mmdeploy.translation import ImportedRecipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        "Read a deployment configuration of MMDeploy, and write what it says as a recipe. The "
        "configuration is read, and never run. What has no counterpart is said in comments."
    )
    parser.epilog = "example: %(prog)s yolov3_partition_onnxruntime_static.py --config-dir my"
    parser.add_argument("config", type=Path, help="the Python file; its bases lie beside it")
    parser.add_argument(
        "--config-dir",
        type=Path,
        metavar="DIR",
        help="write DIR/recipe/NAME.yaml; by default the recipe is printed",
    )
    parser.add_argument("--force", action="store_true", help="write over a recipe of that name")


def run(arguments: argparse.Namespace) -> bool:
    """Translate, and write or print."""
    from backends.contract import DeployError
    from backends.files import write_text
    from deploy.mmdeploy.config_file import read_config
    from deploy.mmdeploy.translation import translate

    name = re.sub(r"\W+", "_", arguments.config.stem)
    recipe = translate(read_config(arguments.config))
    folder = arguments.config_dir
    text = recipe_text(name, arguments.config.name, recipe, folder or Path("DIR"))
    if folder is None:
        print(text, end="")
        return True
    path = folder / "recipe" / f"{name}.yaml"
    if path.exists() and not arguments.force:
        raise DeployError(f"'{path}' is there already", do="Pass --force to write over it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    print(f"written  {path}")
    for remark in recipe.remarks:
        print(f"note     {remark}")
    return True


def recipe_text(name: str, source: str, recipe: ImportedRecipe, folder: Path) -> str:
    """The recipe as YAML, with comments about what is to be completed.

    Args:
        name: of the recipe.
        source: the name of the configuration's file.
        recipe: its content.
        folder: the folder of configuration that it is for.
    """
    import yaml

    backend = "" if recipe.backend else " +backend=BACKEND"
    comments = [
        f"From {source} of MMDeploy:",
        f"  python -m deploy --config-dir {folder} +recipe={name}{backend} "
        "model.target=my_package.my_module:make_model",
    ]
    if recipe.marks:
        comments += [
            "It cuts at these marks; give them to functions with @mark(NAME), or to modules with",
            "  model.marks={NAME: {module: PATH, at: both}}:",
            f"  {', '.join(recipe.marks)}",
        ]
    if recipe.remarks:
        comments += ["To complete, or without a counterpart:"]
        comments += [f"  {remark}" for remark in recipe.remarks]
    defaults = ["/model: module", *([f"/backend: {recipe.backend}"] if recipe.backend else [])]
    body = yaml.safe_dump(dict(recipe.values), sort_keys=False, default_flow_style=None, width=96)
    return "\n".join(
        (
            "# @package _global_",
            *(f"# {comment}" for comment in comments),
            "defaults:",
            *(f"  - {default}" for default in defaults),
            "  - _self_",
            "",
            body,
        )
    )
