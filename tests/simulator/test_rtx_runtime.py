"""The real TensorRT for RTX on the simulated driver: how far NVIDIA's code comes without a GPU.

Its runtime makes the driver prove by private means that it is NVIDIA's. The simulated one does not
pretend to be, so no engine is loaded here, and whether an engine suits a device is not answered.
Its builder does with the driver's public functions, and needs them only where it runs kernels.
"""

from __future__ import annotations

import os

import pytest

from tests.simulator.rtx_builds import run_rtx_child

if "tensorrt_rtx" not in os.environ.get("DEPLOY_TEST_BACKENDS", "tensorrt_rtx").split(","):
    pytest.skip("tensorrt_rtx is not among DEPLOY_TEST_BACKENDS", allow_module_level=True)

MALFORMED_ENGINE = 32

# Which of the kernels that were compiled for a target (columns) a device (rows) is given.
KERNELS = """
    portable    SM75        SM80        SM86        SM89        SM120       SM121
7.5 -           cubin-75    -           -           -           -           -
8.0 cubin-80    cubin-80    cubin-80    -           -           -           -
8.6 cubin-86    cubin-86    cubin-86    cubin-86    -           -           -
8.7 -           -           -           -           -           -           -
8.9 cubin-89    cubin-89    cubin-89    cubin-89    cubin-89    ptx-89      ptx-89
9.0 ptx-89      ptx-89      ptx-89      ptx-89      ptx-89      ptx-89      ptx-89
10.0 ptx-89     ptx-89      ptx-89      ptx-89      ptx-89      ptx-89      ptx-89
12.0 cubin-120  cubin-120   cubin-120   cubin-120   cubin-120   cubin-120   ptx-89
12.1 cubin-120  cubin-120   cubin-120   cubin-120   cubin-120   cubin-120   cubin-120
"""
HEADER, *ROWS = [line.split() for line in KERNELS.strip().splitlines()]
WITH_ALL_TARGETS = ("7.5", "9.0", "12.0")  # the whole table takes a minute
FAST = [("7.5", "portable"), ("8.6", "portable"), ("9.0", "portable")]
CELLS = [  # device, target, kernels; each takes a process of its own
    pytest.param(
        device,
        target,
        kernels,
        marks=() if (device, target) in FAST else pytest.mark.slow,
        id=f"{device}-{target}",
    )
    for device, *row in ROWS
    for target, kernels in zip(HEADER, row, strict=True)
    if target == "portable" or device in WITH_ALL_TARGETS
]


def test_what_is_no_engine_is_malformed_before_a_device_is_looked_at():
    verdicts, errors = run_rtx_child("""
builds = Builds()
plan = builds.build(onnx_file())
size = builds.runtime.engine_header_size
builds.errors()
changed = bytes([plan[0] ^ 0xFF]) + plan[1:]
verdicts = [builds.validity(data) for data in (b"", plan[: size - 1], b"x" * 500, changed)]
answer([verdicts, builds.errors()])
""")
    assert verdicts == [["INVALID", MALFORMED_ENGINE]] * 4
    assert "CUDA" not in errors


@pytest.mark.parametrize("devices", ["", "A:8.6:1073741824"], ids=["no GPU", "simulated GPU"])
def test_without_nvidias_driver_an_engine_is_neither_judged_nor_loaded(devices):
    verdicts, judging, loaded, loading = run_rtx_child(
        """
builds = Builds()
plan = builds.build(onnx_file())
builds.errors()
header = plan[: builds.runtime.engine_header_size]
verdicts = [builds.validity(header), builds.validity(plan)]
judging = builds.errors()
loaded = builds.runtime.deserialize_cuda_engine(plan) is not None
answer([verdicts, judging, loaded, builds.errors()])
""",
        devices,
    )
    assert verdicts == [["INVALID", 0]] * 2  # and no reason
    assert judging.count("Error reading CUDA GPU properties") == 2
    assert not loaded
    assert "deserializeCudaEngine: Error Code 1: Cuda Runtime" in loading


@pytest.mark.parametrize(("precision", "kind"), [("float32", "Float"), ("float16", "Half")])
def test_the_builder_tells_the_layers_of_an_engine_that_cannot_be_loaded(precision, kind):
    layers = run_rtx_child(f"""
builds = Builds()
assert builds.build(onnx_file("{precision}"))
answer(builds.layers())
""")
    product, _, tensors = layers.partition("I/O Tensors:")
    assert "Metadata: [ONNX Layer: product]" in product
    assert f"Name: x, Dimensions: [4,8], Strides: [8,1], StrideOrder: [1,0], Datatype: {kind}" in (
        product
    )
    assert f"Name: y, IOMode: Output, DataType: {kind}, Dimensions: [4,16]" in tensors


@pytest.mark.parametrize("flags", [["REFIT"], ["REFIT_IDENTICAL"], ["STRIP_PLAN"]], ids=str)
def test_weights_that_can_be_changed_need_a_device_that_runs_kernels(flags):
    program = f"""
builds = Builds()
builds.errors()
built = [builds.build(onnx_file(weights=weights), flags={flags}) for weights in (True, False)]
answer([[plan is not None for plan in built], builds.errors(), modules()])
"""
    built, errors, modules = run_rtx_child(program)
    assert built == [False, True]  # without weights there is nothing to do
    assert "CHECK(status == CUDA_SUCCESS) failed" in errors
    assert modules == {}
    built, errors, modules = run_rtx_child(f"open_context()\n{program}")
    assert built == [False, True]
    assert "CUDA error 801 loading a module" in errors  # CUDA_ERROR_NOT_SUPPORTED
    assert modules == {"cubin sm_86": 1}


def test_only_weights_that_are_marked_need_a_device():
    built, errors = run_rtx_child("""
builds = Builds()
builds.errors()
flags = ["REFIT_INDIVIDUAL"]
plans = [builds.build(onnx_file(), flags=flags, refittable=names) for names in ([], ["w"])]
answer([[plan is not None for plan in plans], builds.errors()])
""")
    assert built == [True, False]
    assert "CHECK(status == CUDA_SUCCESS) failed" in errors


def test_weights_that_can_be_changed_are_refused_for_two_targets():
    built, errors = run_rtx_child("""
open_context()
builds = Builds()
builds.errors()
plans = [builds.build(onnx_file(), ["SM86", "SM120"], flags) for flags in ([], ["REFIT"])]
answer([[plan is not None for plan in plans], builds.errors()])
""")
    assert built == [True, False]
    assert "CHECK(sm_vers_.size() == 1) failed" in errors


def test_turing_does_not_multiply_matrices_in_fp32():
    built, errors = run_rtx_child("""
builds = Builds()
builds.errors()
plans = [builds.build(onnx_file(kind), ["SM75"]) for kind in ("float16", "float32")]
answer([[plan is not None for plan in plans], builds.errors()])
""")
    assert built == [True, False]
    assert "Cannot compile operation 'product' for Turing (SM75): FP32 GEMM is not" in errors


@pytest.mark.parametrize(("device", "target", "kernels"), CELLS)
def test_a_device_is_given_the_kernels_that_fit_it(device, target, kernels):
    """Those that a build with changeable weights runs; of other engines nothing is said."""
    targets = [] if target == "portable" else [target]
    built, loaded, errors = run_rtx_child(
        f"""
open_context()
builds = Builds()
builds.errors()
plan = builds.build(onnx_file("float16"), {targets}, ["REFIT"])
answer([plan is not None, modules(), builds.errors()])
""",
        f"A:{device}:1073741824",
    )
    assert not built
    assert loaded == ({} if kernels == "-" else {kernels.replace("-", " sm_"): 1})
    missing = f"module for device target '{device.replace('.', '')}' not found"
    assert (missing in errors) == (kernels == "-")
