"""A run does again only what something of it decides otherwise."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from backends.registry import about
from deploy.cli.main import run_command
from deploy.export.fingerprint import hash_tensors, loaded_code
from deploy.export.torch_source import TorchSource, model_identity
from deploy.pipeline import cached_stages as stages
from deploy.pipeline.cache_store import CacheStore
from deploy.recipe.schema import BackendRecipe, ConvertRecipe, InputRecipe, ModelRecipe
from deploy.runtime.bundle.manifest import read_manifest
from tests.helpers.commands import error_of, output_of, run_process
from tests.helpers.graphs import conv
from tests.helpers.model_sources import TWO_PARTS

WORDS = [
    "+model=module",
    "model.target=my_cached_net:Net",
    "model.inputs={image: {shape: [1, 3, 16, 16]}}",
    "+backend=onnxruntime",
    "partition.segments=[{name: body, start: [image], end: [head:input]},"
    " {name: head, start: [head:input], end: [head:output]}]",
    "cache=cache",
    "bench.runs=0",
]


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    """A folder with a model, a bundle of it and a cache."""
    folder = tmp_path_factory.mktemp("filled")
    (folder / "my_cached_net.py").write_text(TWO_PARTS)
    assert kept(folder) == []
    return folder


@pytest.fixture
def cached_run_folder(filled, tmp_path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "copy"))


def kept(folder: Path, *words: str) -> list[str]:
    """The stages that a run takes from the cache."""
    said = output_of("deploy", *WORDS, *words, "bundle=b", cwd=folder)
    return [line.split("  ")[0] for line in said.splitlines() if "from the cache" in line]


def test_a_run_again_exports_and_converts_nothing(cached_run_folder):
    first = read_manifest(cached_run_folder / "b")
    assert kept(cached_run_folder) == ["export", "convert body", "convert head"]
    again = read_manifest(cached_run_folder / "b")
    assert again.steps == first.steps and again.verification.status == "passed"
    assert {n: f for n, f in again.files.items() if "/" in n and "sample" not in n} == {
        n: f for n, f in first.files.items() if "/" in n and "sample" not in n
    }


def test_another_option_of_one_segment_converts_that_one(cached_run_folder):
    option = ["+backend@chain.head=onnxruntime", "chain.head.options.optimize=extended"]
    assert kept(cached_run_folder, *option) == ["export", "convert body"]


def test_another_cut_exports_nothing(cached_run_folder):
    assert kept(cached_run_folder, "partition.segments=[]") == ["export"]


def test_other_code_of_the_model_is_another_export(cached_run_folder):
    (cached_run_folder / "my_cached_net.py").write_text(TWO_PARTS.replace(".relu()", ".sigmoid()"))
    assert "export" not in kept(cached_run_folder)
    assert read_manifest(cached_run_folder / "b").verification.status == "passed"


def test_other_parameters_are_another_export(cached_run_folder):
    assert kept(cached_run_folder, "+model.params.wide=4") == []


def test_without_a_cache_nothing_is_kept(cached_run_folder):
    shutil.rmtree(cached_run_folder / "cache")
    output_of("deploy", *WORDS, "cache=off", "bundle=b", cwd=cached_run_folder)
    assert not (cached_run_folder / "cache").exists() and not (cached_run_folder / "off").exists()


def test_a_size_that_is_none_is_refused(cached_run_folder):
    said = error_of("deploy", *WORDS, "cache_gib=0", cwd=cached_run_folder)
    assert "cache_gib: expected a number in its range, got 0" in said


def test_the_cache_is_listed_verified_and_pruned(cached_run_folder, capsys):
    assert command("list", cached_run_folder / "cache") == 0
    assert {"export", "convert", "body", "head"} <= set(said(capsys).split())
    assert command("verify", cached_run_folder / "cache") == 0
    assert "3 entries are whole" in said(capsys)
    file = next((cached_run_folder / "cache").glob("entries/*/*/files/*.onnx"))
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    assert command("verify", cached_run_folder / "cache") == 1
    assert f"'{file.name}' was changed; removed" in said(capsys)
    assert command("prune", cached_run_folder / "cache") == 0
    assert "0 entries, 0 B stay" in said(capsys)


def test_a_folder_that_is_no_cache_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="is no cache: expected a folder that a run with cache="):
        command("prune", tmp_path)


def command(*words: object) -> int:
    return run_command("cache", [*map(str, words)])


def said(capsys) -> str:
    return str(capsys.readouterr().out)


class Scaled(nn.Module):
    def __init__(self, factor=2.0, shift=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
        self.factor, self.table = factor, torch.full((3,), shift)
        self.register_buffer("offset", torch.zeros(()), persistent=False)

    def forward(self, x):
        return x * self.factor


def test_the_same_model_built_twice_is_the_same():
    assert model_identity(Scaled()) == model_identity(Scaled())


def test_the_order_of_a_set_is_not_part_of_a_model():
    """It is another one in each process."""
    code = (
        "from tests.pipeline.test_cached_stages import Scaled\n"
        "from deploy.export.torch_source import model_identity\n"
        "model = Scaled()\nmodel.names = set('abcdefgh')\nprint(model_identity(model))"
    )
    found = {python_with_seed(code, seed) for seed in ("1", "2", "3")}
    assert len(found) == 1


def python_with_seed(code: str, seed: str) -> str:
    env = {**os.environ, "PYTHONHASHSEED": seed}
    command = [sys.executable, "-c", code]
    root = Path(__file__).parents[2]
    return subprocess.run(
        command, env=env, cwd=root, capture_output=True, check=True
    ).stdout.decode()


@pytest.mark.parametrize("other", ["factor", "table", "weight", "offset", "layer"])
def test_whatever_is_different_in_a_model_makes_it_another(other):
    model = Scaled()
    if other == "factor":
        model.factor = 3.0
    elif other == "layer":
        model.act = nn.LeakyReLU(0.2)
    else:
        getattr(model, other).data.add_(1)
    assert model_identity(model) != model_identity(Scaled())


class Anchors:
    """As MMDetection's ``YOLOAnchorGenerator``, whose ``repr`` reads what it does not have."""

    def __init__(self, sizes):
        self.sizes = sizes

    def __repr__(self):
        return f"ratios={self.ratios}"


def test_a_setting_whose_repr_fails_counts_by_its_attributes():
    models = [Scaled(), Scaled(), Scaled()]
    for model, sizes in zip(models, ([10, 13], [10, 13], [16, 30]), strict=True):
        model.anchors = Anchors(sizes)
    first, same, other = map(model_identity, models)
    assert first == same != other


def test_settings_that_cannot_be_shown_at_all_are_left_out():
    model = Scaled()
    model.anchors = [Anchors(Anchors(1))]
    assert model_identity(model) == model_identity(model)


def test_what_is_not_exported_does_not_count():
    recipe = ModelRecipe("net", "torch.nn:Identity", inputs={"x": InputRecipe([1, 2])})
    one, other = (TorchSource(r, ["some"]).identity() for r in (recipe, replace(recipe, eval="e")))
    assert json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def test_weights_count_by_what_they_are_and_not_by_their_file(tmp_path):
    size = {"in_features": 2, "out_features": 2}
    recipe = ModelRecipe("net", "torch.nn:Linear", inputs={"x": InputRecipe([1, 2])}, params=size)
    weights = nn.Linear(2, 2).state_dict()
    files = {"a.pt": weights, "b.pth": {"meta": {}, "state_dict": weights}, "c.pt": None}
    found = []
    for name, content in files.items():
        torch.save(content or nn.Linear(2, 2).state_dict(), tmp_path / name)
        source = TorchSource(replace(recipe, weights=str(tmp_path / name)), ["some"])
        found.append(json.dumps(source.identity(), sort_keys=True))
    assert found[0] == found[1] != found[2]


def test_a_module_of_the_user_counts_by_its_content(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_cached_code.py").write_text("A = 1\n")
    __import__("my_cached_code")
    before = loaded_code()["my_cached_code"]
    (tmp_path / "my_cached_code.py").write_text("A = 2\n")
    assert loaded_code()["my_cached_code"] != before
    assert "json" not in loaded_code() and "deploy.cli.app" not in loaded_code()
    del sys.modules["my_cached_code"]


def test_tensors_count_by_dtype_shape_and_content():
    ones = np.ones((2, 3), np.float32)
    others = [ones.T, ones.astype(np.float16), ones * 2, ones.reshape(6)]
    digests = [hash_tensors({"x": array})["x"] for array in (ones, *others)]
    assert len(set(digests)) == 5
    assert hash_tensors({"x": np.asfortranarray(ones)})["x"] == digests[0]


def test_what_is_made_for_one_gpu_is_not_taken_for_another(tmp_path, monkeypatch):
    segment = conv(tmp_path / "conv.onnx")
    store = CacheStore(tmp_path / "cache", 1 << 30)
    ours = about("onnxruntime")
    kept = []
    for number, gpu in enumerate("ABA"):
        of_gpu = replace(ours, machine=lambda options, gpu=gpu: {"gpu": gpu})
        monkeypatch.setattr(stages, "about", lambda name, of_gpu=of_gpu: of_gpu)
        out, asked = tmp_path / f"out{number}", ConvertRecipe(check=False)
        sample = {spec.name: np.zeros(spec.typical, np.float32)
                  for spec in (*segment.inputs, *segment.outputs)}  # fmt: skip
        backend = BackendRecipe("onnxruntime")
        kept.append(stages.convert_cached(store, segment, backend, sample, out, asked)[1])
    assert kept == [False, False, True]


@pytest.mark.slow
def test_the_cache_is_on_and_the_users_own_unless_it_is_said_otherwise(cached_run_folder):
    home = {"DEPLOY_CACHE": "auto", "XDG_CACHE_HOME": str(cached_run_folder / "home")}
    words = [*(word for word in WORDS if not word.startswith("cache=")), "bundle=b"]
    printed = [
        run_process("deploy", *words, cwd=cached_run_folder, **home).stdout for _ in range(2)
    ]
    assert "from the cache" not in printed[0] and printed[1].count("from the cache") == 3
    assert (cached_run_folder / "home" / "backend-chain" / "stages" / "entries").is_dir()
    listed = run_process("deploy", "cache", "list", cwd=cached_run_folder, **home).stdout
    assert "3 entries" in listed
