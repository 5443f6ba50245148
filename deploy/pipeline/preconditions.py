"""What is refused before the first stage: whatever can be known without the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deploy.bundle import check_target
from deploy.convert import checked_options
from deploy.export.onnx_files import complete_files
from deploy.export.onnx_source import complete_inputs
from deploy.pipeline.work_folder import check_own_folder
from deploy.recipe.automatic import with_possible_builds
from deploy.recipe.model_inputs import check_model_inputs
from deploy.recipe.output_paths import RunPaths, WorkFile
from deploy.recipe.post_params import with_known_params
from deploy.recipe.sample_inputs import sample_pictures
from deploy.recipe.schema import HostRecipe, ModelRecipe, Recipe, RecipeError
from deploy.recipe.validate import check_backends, check_recipe
from deploy.runtime.accuracy.dataset import Dataset
from deploy.runtime.accuracy.evaluation import dataset_class
from deploy.runtime.bundle.signing import private_key
from deploy.runtime.execution.host_steps import create_host_function
from deploy.runtime.execution.post_steps import make_post, result_class
from deploy.runtime.vision.compiling import without_compiling
from deploy.runtime.vision.image import decode


def checked_recipe(recipe: Recipe, paths: RunPaths) -> Recipe:
    """Refuse all that can be refused before any stage; complete the inputs of an ONNX file.

    Raises:
        DeployError: naming the key, the file or the folder.
    """
    if recipe.model.files and not (recipe.model.file or recipe.model.target):
        recipe = complete_files(recipe)
    if recipe.model.file is not None and not (recipe.model.files or recipe.model.target):
        recipe = replace(recipe, model=complete_inputs(recipe.model))
    recipe = replace(recipe, model=with_known_params(recipe.model))
    check_recipe(recipe)
    recipe = with_possible_builds(recipe)
    check_backends(recipe)
    check_model_inputs(recipe)
    for backend in recipe.backends:
        checked_options(backend)
    check_target(paths.bundle)
    if recipe.bundle.sign is not None:
        private_key(key_file(recipe.bundle.sign))
    check_own_folder(paths.work, [*WorkFile], "Pass another bundle=FOLDER.")
    _check_steps(recipe.model, recipe.partition.host)
    for picture in sample_pictures(recipe.model, recipe.verify.images):
        decode(picture)
    evaluation_dataset(recipe)
    return recipe


def key_file(name: str) -> Path:
    """The file of a private key as the recipe names it."""
    return Path(name).expanduser()


def _check_steps(model: ModelRecipe, hosts: list[HostRecipe]) -> None:
    """Create every host step and post-processing: some parameters only their code can judge."""
    with without_compiling():
        for post in model.post:
            make_post(post.id, post.params)
        for host in hosts:
            if not host.calls:  # else it needs the engines
                create_host_function(host.name, host.id, host.params, {})


def evaluation_dataset(recipe: Recipe) -> Dataset | None:
    """The data set that both models are to be evaluated on; None where they are not to be.

    Raises:
        RecipeError: the model has none, or nothing that could be judged.
        DatasetError: it is no data set, or has other classes.
    """
    model = recipe.model
    if not recipe.verify.eval:
        return None
    if model.eval is None:
        raise RecipeError(
            "verify.eval=true",
            expected="a model with an evaluation set",
            got="none",
            do="Pass model.eval=ANNOTATIONS.json (COCO format, its pictures beside it), or the "
            "folder of a data set (docs/tasks.md).",
        )
    kinds = [result_class(post.id) for post in model.post]
    judging = dataset_class(kinds[0]) if kinds else None
    if judging is None or model.pre is None:
        raise RecipeError(
            "verify.eval=true",
            expected="a model of pictures whose post-processing gives what data sets can judge",
            got=kinds[0].noun if kinds else "no model.post",
        )
    dataset = judging(Path(model.eval), model.classes)
    missing = [path for path in dataset.pictures.values() if not path.is_file()]
    if missing:
        raise RecipeError(
            f"model.eval '{model.eval}'",
            expected=f"its {len(dataset.pictures)} pictures",
            got=f"{len(missing)} of them missing, such as '{missing[0]}'",
        )
    return dataset
