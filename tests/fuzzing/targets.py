"""What we do with each kind of thing that a stranger hands over."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from backends.contract import Array, DeployError, Specs
from backends.onnx.model_file import read_without_weights
from backends.registry import loader
from deploy.analysis.survey import survey
from deploy.cli.main import run_command
from deploy.export.onnx_source import OnnxSource, complete_inputs, with_open_sizes
from deploy.graph.exported import Exported
from deploy.models.yolov3.post import YoloPost
from deploy.partition.segments import partition
from deploy.recipe.schema import BackendRecipe, ModelRecipe
from deploy.runtime import Pipeline
from deploy.runtime.bundle.archive import unpack
from deploy.runtime.commands.check import check
from deploy.runtime.vision.image import Pre, load_image
from deploy.runtime.vision.nms import nms
from deploy.runtime.vision.preprocess import Preprocessor
from tests.fuzzing.bundle_target import run_to_the_end
from tests.fuzzing.cache_target import use_cache
from tests.fuzzing.configuration_target import run_configuration
from tests.fuzzing.worker import Door, Target

_MOST_GIB = 0.1
_MOST_ELEMENTS = 1 << 22  # of a tensor of zeros; the harness itself shall not run out of memory


def load_onnx(bundle: Path, out: Path, door: Door) -> None:
    """Desk and device: cut the model, then open and run a bundle of it."""
    model = bundle / "net" / "model.onnx"
    plain = Path(os.path.realpath(bundle)) / "net" / "model.onnx"
    ours = Path(os.path.realpath(model)) == plain  # a link that is asked for is followed
    both(
        door,
        lambda: cut(model, out, door) if ours else None,
        lambda: run_bundle(bundle, out, door),
    )


def load_manifest(bundle: Path, out: Path, door: Door) -> None:
    """Open, run, check and verify a bundle."""
    with contextlib.redirect_stdout(io.StringIO()):
        both(door, lambda: _run_and_check(bundle, door), lambda: command("verify", str(bundle)))


def run_bundle(bundle: Path, out: Path, door: Door) -> None:
    """Try a bundle in a child process, open it in this one, and run it once."""
    with Pipeline.open(bundle, isolate="never") as pipeline:
        pipeline.chain(_zeros(pipeline.manifest.inputs))


def _run_and_check(bundle: Path, door: Door) -> None:
    with Pipeline.open(bundle, isolate="never") as pipeline:
        specs = pipeline.manifest.inputs
        both(
            door,
            lambda: pipeline.chain(_zeros(specs)),
            lambda: check(bundle, None, isolate="never"),
        )


def cut(path: Path, out: Path, door: Door) -> None:
    """What the desk does with ``model.file``: look at it, and cut it into one segment and two."""
    read_without_weights(path)
    asked = ModelRecipe("fuzzed", file=str(path), reference=BackendRecipe("onnxruntime"))
    exported = OnnxSource(complete_inputs(with_open_sizes(asked))).export({}, out)
    (out / "whole").mkdir()
    (out / "cut").mkdir()
    both(
        door,
        lambda: partition(exported, [], out / "whole"),
        lambda: _cut_in_two(exported, out / "cut", door),
    )


def _cut_in_two(exported: Exported, out: Path, door: Door) -> None:
    points = [one.point for one in survey(exported).tensors]
    door()
    if points:
        partition(exported, [], out, across=[[points[len(points) // 2]]])


def unpack_archive(archive: Path, out: Path, door: Door) -> None:
    """Unpack, as ``python -m deploy bundle unpack`` does."""
    unpack(archive, out / "bundle", _MOST_GIB)


def read_picture(path: Path, out: Path, door: Door) -> None:
    """Decode."""
    load_image(path)


def read_weights(path: Path, out: Path, door: Door) -> None:
    """Load into a model."""
    from deploy.export.weights import load_weights
    from tests.fuzzing.seed_files import Net

    load_weights(Net(), path, {})


def command(*words: str) -> None:
    """``backend-chain bundle``; what it says to people is an error like any other."""
    try:
        run_command("bundle", words)
    except SystemExit as error:
        if error.code not in (None, 0):
            raise DeployError(str(error.code)) from error


def both(door: Door, *ways: Callable[[], object]) -> None:
    """Every way in is tried; at the end a fault is raised, or else the first refusal."""
    errors: list[Exception] = []
    for way in ways:
        door()
        try:
            way()
        except Exception as error:  # noqa: BLE001 - the other ways are to be tried too
            errors.append(error)
    faults = [error for error in errors if not isinstance(error, DeployError)]
    for error in (*faults, *errors):
        raise error


def _zeros(specs: Specs) -> dict[str, Array]:
    shapes = {spec.name: spec.typical for spec in specs}
    if any(np.prod(shape, dtype=np.float64) > _MOST_ELEMENTS for shape in shapes.values()):
        return {}
    return {spec.name: np.zeros(shapes[spec.name], spec.dtype) for spec in specs}


TARGETS: Mapping[str, Target] = {
    "onnx": load_onnx,
    "ncnn": run_bundle,
    "manifest": load_manifest,
    "archive": unpack_archive,
    "image": read_picture,
    "weights": read_weights,
    "bundle-run": run_to_the_end,
    "configuration": run_configuration,
    "cache": use_cache,
}


def warm(kind: str) -> None:
    """Import what the kind needs before any worker is forked; a fork of less is faster."""
    if kind == "weights":
        importlib.import_module("deploy.export.weights")
        importlib.import_module("tests.fuzzing.seed_files")
    if kind == "bundle-run":
        run_to_the_end.listen()
    if kind == "cache":
        importlib.import_module("deploy.cli.cache")
    if kind == "configuration":
        importlib.import_module("deploy.recipe.validate")
        os.environ["HYDRA_FULL_ERROR"] = "1"  # errors of Hydra come to the target as they are
    for backend in ("onnxruntime", "ncnn"):
        loader(backend)
    # machine code of host steps is kept beside them, outside any case's folder; and OpenCV sets
    # variables of the environment when it is imported
    os.environ["DEPLOY_COMPILE_FIRST"] = "1"
    YoloPost("darknet53", 2)
    Preprocessor(Pre("image", 8, 8, (0, 0, 0), (1, 1, 1)))(np.zeros((1, 1, 3), np.uint8))
    nms(np.zeros((1, 4), np.float32), np.zeros(1), np.zeros(1, int), 0.5, 1)
