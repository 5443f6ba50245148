"""The runtime's own tests, on the device."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from tests.arm64.device import ROOT, Device

_FOLDER = "tests/runtime"
_WITHOUT = f"{_FOLDER}/vision/test_compiling.py"  # it is about numba, which is not installed there
# onnx writes the tests' files, and is no part of the runtime
_LIBRARIES = "pytest onnx ml-dtypes cryptography pycocotools hypothesis filelock"
_BACKENDS = "onnxruntime,ncnn,openvino"
_PASSED, _FAILED, _DESK = "passed", "failed", "need PyTorch, Hydra, pnnx, numba or OpenCV"
_NEEDS_DESK = re.compile(
    r"this is the desk, and it lacks|pnnx is missing|"
    r"No module named '(torch|onnx_ir|onnxscript|hydra|pnnx|numba|cv2)"
)
_NO_LIST = "need a list of processes, which the emulator has not"
_NO_TRAP = "need a division that traps, as on x86"
_SLOW = "need a program to start, or end, within seconds"
_EXPECTED = {
    "test_a_bundle_of_somebody_else_is_isolated_and_one_made_here_is_not": _NO_LIST,
    "test_ctrl_c_during_a_call_ends_the_process_and_the_next_call_has_another": _NO_LIST,
    "test_a_pipeline_that_nobody_closes_leaves_no_process": _NO_LIST,
    "test_the_process_ends_with_its_parent_even_in_a_call": _NO_LIST,
    "test_a_child_ends_with_its_parent": _NO_LIST,
    "test_a_crash_is_an_error_that_names_the_step_and_the_pipeline_lives_on": _NO_TRAP,
    "test_a_step_alone_and_a_timed_call_fail_alike": _NO_TRAP,
    "test_a_file_that_crashes_its_engine_is_refused_and_the_step_named": _NO_TRAP,
    "test_a_second_step_is_run_too": _NO_TRAP,
    "test_every_size_of_an_input_is_run": _NO_TRAP,
    "test_what_failed_is_tried_again_and_what_passed_is_not": _NO_TRAP,
    "test_a_file_that_hangs_its_engine_is_refused": _SLOW,
    "test_no_value_anywhere_is_more_than_one_error": _SLOW,
}


def run_tests(device: Device) -> bool:
    """Run them and print how many had which outcome; true if none failed.

    Raises:
        RuntimeError: pytest did not run.
    """
    outcomes = dict(map(_outcome, ElementTree.parse(_report(device)).iter("testcase")))
    counts = Counter(outcomes.values())
    print("\n| tests of the runtime | |\n|---|---|")
    print(*(f"| {outcome} | {count} |" for outcome, count in counts.most_common()), sep="\n")
    print(*(f"FAILED {name}" for name, how in outcomes.items() if how == _FAILED), sep="\n")
    return counts[_PASSED] > 0 and not counts[_FAILED]


def _report(device: Device) -> Path:
    """What pytest writes of them, in the form of JUnit."""
    device.output_of("-m", "pip", "install", "--only-binary", ":all:", *_LIBRARIES.split())
    folder = device.home / "own"
    for part in ("tests", "scripts", "deploy/models/yolov3/demo"):
        shutil.copytree(ROOT / part, folder / part)
    shutil.copy(ROOT / "pyproject.toml", folder)
    report = folder / "report.xml"
    words = ("-p", "no:cacheprovider", "--continue-on-collection-errors", f"--junitxml={report}")
    # "none": no simulated driver is compiled there either
    environment = {"DEPLOY_TEST_BACKENDS": _BACKENDS, "DEPLOY_TEST_GPU": "none"}
    command = ("-m", "pytest", *words, f"--ignore={_WITHOUT}", _FOLDER)
    ended = device.run(*command, cwd=folder, **environment)
    if not report.is_file():
        raise RuntimeError(f"pytest wrote no report\n{ended.stdout}{ended.stderr}")
    return report


def _outcome(case: ElementTree.Element) -> tuple[str, str]:
    """The name of a test, and how it ended."""
    test = case.get("name", "")
    name = f"{case.get('classname')} {test}"
    if not any(part.tag in ("failure", "error") for part in case):
        return name, "skipped" if len(case) else _PASSED
    texts = [text for part in case for text in (part.get("message", ""), part.text or "")]
    if any(map(_NEEDS_DESK.search, texts)):
        return name, _DESK
    return name, _EXPECTED.get(test.partition("[")[0], _FAILED)
