"""How an app calls an ncnn net: sides of its Mats, rows, batches, and the code that says so."""

from __future__ import annotations

import json

import ncnn
import numpy as np
import pytest

from backends.contract import Artifact, Dynamic, TensorSpec
from backends.ncnn.handover import engine_facts, mat_layout


@pytest.mark.parametrize("shape", [(7,), (1000,), (13, 17), (3, 5, 7), (2, 3, 5, 7)])
def test_the_sides_of_a_mat_are_those_that_the_engine_has(shape):
    mat = ncnn.Mat(np.zeros(shape, np.float32)).clone()
    layout = mat_layout(shape)
    assert layout["dims"] == mat.dims and layout["cstep"] == mat.cstep
    assert [layout.get(side, 1) for side in "whdc"] == [mat.w, mat.h, mat.d, mat.c]


def test_a_tensor_of_more_axes_than_a_mat_has_no_sides():
    assert mat_layout((1, 2, 3, 4, 5)) == {}


def facts_of(folder, inputs, outputs, axes, **options):
    (folder / "axes.json").write_text(json.dumps(axes))
    files = ("model.ncnn.param", "model.ncnn.bin", "axes.json")
    artifact = Artifact("net", "ncnn", files, inputs, outputs, options=options)
    return engine_facts(artifact, folder)


def test_a_number_of_rows_that_varies_means_a_call_for_each_row(tmp_path):
    rows = Dynamic("rows", 0, 4, 100)
    x, y = (TensorSpec(name, "float32", (rows, 8)) for name in "xy")
    facts = facts_of(tmp_path, (x,), (y,), {"in0": 0, "out0": 0}, threads=2)
    assert (facts.calls, facts.threads, facts.inputs[0].shape) == ("row by row", 2, (1, 8))
    assert facts.inputs[0].layout == {"dims": 1, "w": 8, "cstep": 8}
    assert "    net.opt.num_threads = 2;" in facts.example


def test_a_fixed_batch_of_several_is_a_mat_with_a_batch(tmp_path):
    x, y = (TensorSpec(name, "float32", (2, 3, 5, 7)) for name in "xy")
    facts = facts_of(tmp_path, (x,), (y,), {"in0": 0, "out0": 0})
    mat = ncnn.Mat(np.zeros((2, 3, 5, 7), np.float32), batch_index=0)
    assert facts.calls == "once" and facts.inputs[0].layout["n"] == mat.n == 2
    assert "    ncnn::Mat in0_mat(7, 5, 3, (size_t)4u, 1, 2);" in facts.example
    assert "        copy_in(in0 + (size_t)b * 105, in0_mat.batch(b));" in facts.example


def test_a_batch_behind_another_axis_is_told(tmp_path):
    x, y = TensorSpec("x", "float32", (3, 2, 8)), TensorSpec("y", "float32", (3, 2))
    facts = facts_of(tmp_path, (x,), (y,), {"in0": 1, "out0": 233})
    assert (facts.inputs[0].batch_axis, facts.outputs[0].batch_axis) == (1, None)
    assert "    // axis 1 of in0 comes first here" in facts.example


def test_half_precision_is_what_the_options_say(tmp_path):
    x, y = (TensorSpec(name, "float32", (1, 8)) for name in "xy")
    facts = facts_of(tmp_path, (x,), (y,), {"in0": 0, "out0": 0}, fp16=True)
    assert facts.settings["use_fp16_arithmetic"] is True
    assert facts.settings["use_bf16_storage"] is False


def test_a_gpu_is_chosen_by_its_number_before_the_net_is_read(tmp_path):
    x, y = (TensorSpec(name, "float32", (1, 8)) for name in "xy")
    axes = {"in0": 0, "out0": 0}
    facts = facts_of(tmp_path, (x,), (y,), axes, device="vulkan", gpu=1)
    assert facts.settings["use_vulkan_compute"] is True
    chosen = facts.example.index("    net.set_vulkan_device(1);")
    read = next(index for index, line in enumerate(facts.example) if "load_param" in line)
    assert chosen < read and any("set_vulkan_device" in note for note in facts.notes)
    facts = facts_of(tmp_path, (x,), (y,), axes)
    assert facts.settings["use_vulkan_compute"] is False
    assert not any("set_vulkan_device" in line for line in (*facts.example, *facts.notes))
