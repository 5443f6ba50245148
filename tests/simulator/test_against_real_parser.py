"""The double of TensorRT against NVIDIA's own parser, that of TensorRT for RTX: same files in."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from tests.backends.tensorrt_rtx.difficult_graphs import GRAPHS, HEADER
from tests.cutsuite.cases import backend_cases
from tests.cutsuite.own import own_cases
from tests.parsersuite.batches import outcomes
from tests.parsersuite.child import DOUBLE, REAL
from tests.parsersuite.comparison import differences
from tests.parsersuite.outcome import Outcome, Task
from tests.parsersuite.own_graphs import whole_tasks
from tests.parsersuite.packaged import packaged_tasks, task_of

if "tensorrt_rtx" not in os.environ.get("DEPLOY_TEST_BACKENDS", "tensorrt_rtx").split(","):
    pytest.skip("tensorrt_rtx is not among DEPLOY_TEST_BACKENDS", allow_module_level=True)

FEW = 40  # models of the onnx package in the quick test
SECONDS = 60  # for one file
PACKAGED = 460

# Files of which the two say different things, and why; the README of the double has this too.
LESS_KNOWN_SIZES = "NVIDIA leaves a size open that ONNX's inference computes"
NO_SHAPE_ANALYSIS = "the double does not compute the sizes inside a network"
NOT_IN_RTX = "a plugin that TensorRT has, and TensorRT for RTX lacks, or lacks without a GPU"
EXCEPTIONS = {
    "test_affine_grid_2d_align_corners_expanded": LESS_KNOWN_SIZES,
    "test_affine_grid_2d_expanded": LESS_KNOWN_SIZES,
    "test_affine_grid_3d_align_corners_expanded": NO_SHAPE_ANALYSIS,
    "test_affine_grid_3d_expanded": NO_SHAPE_ANALYSIS,
    "test_blackmanwindow_expanded": LESS_KNOWN_SIZES,
    "test_blackmanwindow_symmetric_expanded": LESS_KNOWN_SIZES,
    "test_center_crop_pad_crop_and_pad_expanded": LESS_KNOWN_SIZES,
    "test_center_crop_pad_crop_axes_chw_expanded": LESS_KNOWN_SIZES,
    "test_center_crop_pad_crop_axes_hwc_expanded": LESS_KNOWN_SIZES,
    "test_center_crop_pad_crop_expanded": LESS_KNOWN_SIZES,
    "test_center_crop_pad_crop_negative_axes_hwc_expanded": LESS_KNOWN_SIZES,
    "test_center_crop_pad_pad_expanded": LESS_KNOWN_SIZES,
    "test_hammingwindow_expanded": LESS_KNOWN_SIZES,
    "test_hammingwindow_symmetric_expanded": LESS_KNOWN_SIZES,
    "test_hannwindow_expanded": LESS_KNOWN_SIZES,
    "test_hannwindow_symmetric_expanded": LESS_KNOWN_SIZES,
    "test_range_bfloat16_type_positive_delta_expanded": NO_SHAPE_ANALYSIS,
    "test_range_float16_type_positive_delta_expanded": NO_SHAPE_ANALYSIS,
    "test_range_float_type_positive_delta_expanded": NO_SHAPE_ANALYSIS,
    "test_range_int32_type_negative_delta_expanded": LESS_KNOWN_SIZES,
    "open_rank": "NVIDIA takes an unknown rank for none: a scalar",
    "quantised": "NVIDIA computes in int8 where ONNX's default type is uint8",
    "size_from_data": NOT_IN_RTX,
    "graph if_of_two_ranks": "NVIDIA's size is that of the first branch",
    "graph places_of_nonzeros": NOT_IN_RTX,
    "graph regions": NOT_IN_RTX,
    "graph sizes_that_contradict": NO_SHAPE_ANALYSIS,
    "graph unknown_rank": "NVIDIA takes an unknown rank for none: a scalar",
    "file empty": "NVIDIA takes an empty file for an empty network",
}


def test_the_double_says_of_files_what_nvidias_parser_says(tmp_path):
    cases = {case.name: case for case in backend_cases() if len(case.model().graph.node) > 1}
    drawn = random.Random(0).sample(sorted(cases), FEW)
    packaged = [task_of(cases[name], tmp_path / "packaged", build=False) for name in drawn]
    tasks = [*packaged, *own_tasks(tmp_path), *graph_tasks(tmp_path), *broken_tasks(tmp_path)]
    assert_equal_but_for_exceptions(tasks)


@pytest.mark.slow
def test_the_double_says_of_every_packaged_model_what_nvidias_parser_says(tmp_path):
    tasks = list(packaged_tasks(tmp_path, build=False))
    assert len(tasks) >= PACKAGED
    assert_equal_but_for_exceptions(tasks)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"verdict": "refused by the parser"}, "verdict"),
        ({"inputs": ()}, "input names"),
        ({"outputs": ()}, "output names"),
    ],
)
def test_a_difference_is_told_by_its_kind(tmp_path, changes, kind):
    (case,) = (case for case in own_cases() if case.name == "twice")
    (real,) = outcomes([task_of(case, tmp_path, build=False)], SECONDS)
    assert real.verdict == "parsed" and real.inputs and real.outputs
    assert not differences(real, real)
    (told,) = differences(real, replace(real, **changes))
    assert told.startswith(f"{kind}: ")


def assert_equal_but_for_exceptions(tasks: Sequence[Task]) -> None:
    """Assert that the two differ about the exceptions, and about nothing else."""
    told = {
        real.name: differences(real, double)
        for real, double in zip(parsed(tasks, REAL), parsed(tasks, DOUBLE), strict=True)
    }
    different = {name for name, every in told.items() if every}
    unexpected = {name: told[name] for name in different - EXCEPTIONS.keys()}
    assert not unexpected
    assert different == EXCEPTIONS.keys() & told.keys(), "an exception is none any more"


def parsed(tasks: Sequence[Task], module: str) -> list[Outcome]:
    return list(outcomes(tasks, SECONDS, size=100, module=module))


def own_tasks(folder: Path) -> list[Task]:
    """The own graphs of the cut suite."""
    return [replace(task, build=False) for task in whole_tasks(folder)]


def graph_tasks(folder: Path) -> list[Task]:
    """The graphs of the tests of refusals."""
    tasks = []
    for name, (text, _) in GRAPHS.items():
        path = folder / f"{name}.onnx"
        path.write_bytes(onnx.parser.parse_model(HEADER + text).SerializeToString())
        tasks.append(Task(f"graph {name}", str(path), build=False))
    return tasks


def broken_tasks(folder: Path) -> list[Task]:
    """Files that are no models, or without their weights."""
    (folder / "broken").write_bytes(b"\xff\x01 no model")
    (folder / "empty").write_bytes(b"")
    (case,) = (case for case in own_cases() if case.name == "external_weights")
    lonely = case.write(folder)
    (folder / "weights").unlink()
    paths = {"broken": folder / "broken", "empty": folder / "empty", "lonely": lonely}
    paths["missing"] = folder / "missing"
    return [Task(f"file {name}", str(path), build=False) for name, path in paths.items()]
