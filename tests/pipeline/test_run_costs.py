"""What a run costs beside its stages, counted: modules, calls of the model, pictures encoded."""

from __future__ import annotations

import gc
import subprocess
import sys
from importlib.metadata import version
from io import StringIO

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from backends.process.garbage import no_garbage_collection
from deploy.cli.compose import compose
from deploy.export import fingerprint
from deploy.export.fingerprint import installed_versions
from deploy.export.torch_source import TorchSource
from deploy.pipeline import run
from deploy.pipeline.job import run_job
from deploy.recipe.schema import InputRecipe, ModelRecipe
from deploy.report import pictures
from deploy.report.progress import Progress
from deploy.runtime.execution.registered import _modules
from deploy.verify import ReferenceData

UNNEEDED = (  # by a run of a detector on one engine, before its model is exported
    "torch._dynamo", "onnxscript", "onnxruntime", "numba", "deploy.devices", "deploy.tasks",
    "deploy.analysis", "PIL.FitsImagePlugin",
)  # fmt: skip
LOADED_BY_A_JOB = """\
import sys
from deploy.cli.app import main
from deploy.pipeline.job import run_job
from deploy.runtime.execution.post_steps import make_post
from deploy.runtime.vision.image import decode
make_post("yolov3.maps", {"backbone": "darknet53", "num_classes": 10})
decode(PICTURE)
"""
LOADED_BY_THE_BENCHMARK = "import sys, deploy.runtime.benchmark.worker"


def loaded(code: str, *names: str) -> list[str]:
    """Those modules of some names that code has loaded, in a process of its own."""
    shown = f"{code}\nprint(*[name for name in {names!r} if name in sys.modules])"
    words = [sys.executable, "-c", shown]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


def test_a_job_loads_nothing_that_only_other_jobs_need(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    code = LOADED_BY_A_JOB.replace("PICTURE", repr(str(tmp_path / "picture.png")))
    assert loaded(code, *UNNEEDED, "torch") == ["torch"]


def test_the_process_of_the_benchmark_loads_the_runtime_alone():
    names = ("torch", "onnx", "onnx_ir", "hydra", "rich", "jinja2", "deploy.report", *UNNEEDED)
    assert loaded(LOADED_BY_THE_BENCHMARK, *names, "numpy") == ["numpy"]


def test_what_stays_is_not_searched_for_garbage():
    with no_garbage_collection():
        assert not gc.isenabled()
        with no_garbage_collection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_identity_of_a_model_of_pytorchs_modules_reads_no_list_of_installed_files(monkeypatch):
    def read() -> None:
        raise AssertionError("every distribution was read")

    monkeypatch.setattr(fingerprint, "packages_distributions", read)
    recipe = ModelRecipe("net", "torch.nn:Identity", inputs={"x": InputRecipe([1, 2])})
    assert "torch itself" in TorchSource(recipe, ["some"]).identity()["versions"]
    assert installed_versions(["deploy", "no_such_package"]) == {}


def test_an_installed_package_counts_by_the_version_of_its_distribution():
    assert installed_versions(["PIL"])["pillow"] == version("pillow")


def test_the_reference_is_not_computed_again_for_inputs_whose_values_are_known():
    calls: list[float] = []

    def reference(inputs):
        calls.append(float(inputs["x"].sum()))
        return {**inputs, "y": inputs["x"] * 2}

    one, two, three = (np.array([number], np.float32) for number in (1, 2, 3))
    values, known = {"x": one, "y": one * 2}, {"x": two, "y": two * 2}
    data = ReferenceData(reference, values, (), None, known=[known])
    assert data.whole_model({"x": one})["y"] == 2 and data.whole_model({"x": two})["y"] == 4
    assert data.whole_model({"x": one.astype(np.float16)})["y"] == 2
    assert calls == []
    assert data.whole_model({"x": three})["y"] == 6
    assert data.whole_model({"x": np.array([[1]], np.float32)})["y"] == 2
    assert calls == [3, 1]


@pytest.mark.parametrize(
    ("colours", "encoded"), [(1, ["jpeg", "png", "png"]), (256, ["jpeg", "png"])]
)
def test_a_picture_is_encoded_in_full_once_where_png_has_no_chance(monkeypatch, colours, encoded):
    kinds: list[str] = []
    encode = pictures._encode

    def counted(image, kind, **options):
        kinds.append(kind)
        return encode(image, kind, **options)

    monkeypatch.setattr(pictures, "_encode", counted)
    noise = np.random.default_rng(0).integers(0, colours, (200, 300, 3), np.uint8)
    noise = noise.repeat(2, 0).repeat(2, 1)
    kind = pictures.data_url(noise).partition(";")[0]
    assert (kinds, kind) == (encoded, f"data:image/{'png' if colours == 1 else 'jpeg'}")


@pytest.mark.slow
def test_the_main_job_calls_its_model_once_for_each_picture_and_once_before_the_export(
    tmp_path, monkeypatch
):
    called: list[bool] = []
    values = TorchSource.values

    def counted(source, inputs, *, rewritten):
        called.append(rewritten)
        return values(source, inputs, rewritten=rewritten)

    monkeypatch.setattr(TorchSource, "values", counted)
    monkeypatch.setattr(run, "worker_process", lambda *_, **__: pytest.fail("nothing to measure"))
    words = ["+model=yolov3", "+backend=onnxruntime", "bench.runs=0", "cache=off"]
    progress = Progress(Console(file=StringIO()))
    row = run_job("job", compose(words), tmp_path / "b", tmp_path / "b.work", progress=progress).row
    assert row.status == "passed"
    assert called == [False] * 5  # before the export, and for each of the four pictures


def test_an_id_begins_with_the_folder_that_registers_it():
    for module in _modules("post", ""):
        folder = module.__name__.split(".")[2]
        assert {id.partition(".")[0] for id in module.POSTS} == {folder}
