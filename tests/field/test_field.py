"""The list of models, their samples, and the comparison on real samples; nothing is downloaded."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from torch.utils import _pytree

from tests.field import architecture_list
from tests.field.architecture_list import ARCHITECTURES
from tests.field.campaign import Result
from tests.field.cli import MODELS, main
from tests.field.model_list import PackagedFile
from tests.field.outcome import PASSED, REFUSED
from tests.field.packaged_files import FILES
from tests.field.packages import PackageError, packaged_file
from tests.field.reference import (
    errors,
    has_declared_shape,
    output_name,
    read_samples,
    relative_error,
)
from tests.field.report import by_model
from tests.field.samples import COUNT, sample, write_samples


def test_there_are_at_least_fourteen_files_and_fourteen_architectures():
    assert len({model.source.sha256 for model in FILES}) >= 14
    assert len({model.source for model in ARCHITECTURES}) >= 14


def test_no_two_models_have_one_name():
    assert len(MODELS) == len(FILES) + len(ARCHITECTURES)


def test_every_file_is_pinned_by_version_and_hash():
    for model in FILES:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", model.source.package), model.name
        assert re.fullmatch(r"[0-9a-f]{64}", model.source.sha256), model.name


def test_every_architecture_has_a_factory():
    functions = {
        node.name
        for node in ast.parse(
            Path(architecture_list.__file__).with_name("architectures.py").read_text()
        ).body
        if isinstance(node, ast.FunctionDef)
    }
    for model in ARCHITECTURES:
        assert model.source.split(":")[1] in functions, model.name


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_samples_have_the_shape_and_dtype_of_each_input_and_differ(model):
    first, second = sample(model, 0), sample(model, 1)
    for name, spec in model.inputs.items():
        assert first[name].shape == tuple(spec.shape)
        assert first[name].dtype == np.dtype(spec.dtype)
        assert np.isfinite(first[name].astype(np.float64)).all()
    assert any((first[name] != second[name]).any() for name in model.inputs)


def test_every_mark_is_cut_at_and_every_cut_of_an_architecture_is_a_mark():
    for model in ARCHITECTURES:
        points = [point.removesuffix(":input") for points in model.cuts for point in points]
        assert Counter(points) == Counter(list(model.marks)), model.name


def test_the_samples_of_a_file_are_read_one_by_one(tmp_path):
    model = MODELS["unet"]
    write_samples(model, tmp_path / "samples")
    samples = list(read_samples(tmp_path / "samples"))
    assert len(samples) == COUNT
    np.testing.assert_array_equal(samples[1]["image"], sample(model, 1)["image"])


def test_a_sample_of_a_scalar_is_an_array(tmp_path):
    write_samples(MODELS["pitch"], tmp_path / "samples")
    first = next(read_samples(tmp_path / "samples"))
    assert isinstance(first["fmin"], np.ndarray)
    assert first["fmin"].shape == ()


def test_a_file_of_another_hash_is_refused(tmp_path):
    file = PackagedFile("net==1.0", "net/model.onnx", "0" * 64)
    path = tmp_path / "net-1.0/net/model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"another")
    with pytest.raises(PackageError, match=r"net==1\.0: .*expected SHA-256 0000.*remove .*net-1"):
        packaged_file(file, tmp_path)


def test_infinities_and_nan_agree_only_with_themselves():
    value = np.array([1.0, np.inf, -np.inf, np.nan])
    assert relative_error(value, value.copy()) == 0
    assert relative_error(value, np.array([1.0, np.inf, -np.inf, 1.0])) == np.inf
    assert relative_error(value, np.array([1.0, np.inf, np.inf, np.nan])) == np.inf
    assert relative_error(value, np.array([2.0, np.inf, -np.inf, np.nan])) == 1


def test_outputs_are_compared_by_name_or_else_by_place():
    first, second = np.ones(2), np.zeros(2)
    assert errors({"a": first, "b": second}, {"b": second, "a": first}, ["b", "a"]) == {
        "b": 0,
        "a": 0,
    }
    assert errors({"0": first}, {"a": second}, ["a"]) == {"a": 1}
    assert list(errors({"0": first, "1": first}, {"a": first}, ["a"]).values()) == [np.inf]


def test_a_tensor_of_a_result_has_the_name_of_its_export():
    tree = {"text": {"hidden": 0}, "scores": [1, 2]}
    paths = [path for path, _ in _pytree.tree_flatten_with_path(tree)[0]]
    assert [output_name(path) for path in paths] == ["text.hidden", "scores.0", "scores.1"]


def test_a_shape_is_checked_against_the_declared_sizes():
    assert has_declared_shape((4, 2), (object(), 2))
    assert has_declared_shape((4, 2), None)
    assert not has_declared_shape((4,), (1,))
    assert not has_declared_shape((4, 2), (4,))


def test_a_mistyped_model_is_refused_with_the_similar_ones(tmp_path):
    with pytest.raises(SystemExit, match=r"no model is called 'brt'; there is .*bert"):
        main("", ["--only", "brt", "--out", str(tmp_path)])


def test_the_table_of_the_page_has_a_row_for_each_model_with_errors_and_verdicts():
    def result(engine, way, verdict, real):
        key = f"bert-{engine}-{way}"
        return Result(key, "bert", "encoder", engine, "", verdict, None, real, 1.0, "", "")

    results = [
        result("onnxruntime", "whole", PASSED, 2e-7),
        result("onnxruntime", "cut", REFUSED, None),
        result("ncnn", "auto", PASSED, 1e-3),
    ]
    assert (
        by_model(results).splitlines()[-1] == "| bert | encoder | 2.0e-07 | refused |  |  |  |  |"
    )
    assert by_model(results[2:]) == ""
