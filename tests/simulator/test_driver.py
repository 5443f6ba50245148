"""The simulated driver under the real pycuda, and under ctypes where pycuda has no face for it."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import pytest

from tests.simulator import activate
from tests.simulator.build import build

GIB = 1 << 30
NON_BLOCKING = 1
OUT_OF_MEMORY, ALREADY_REGISTERED, LAUNCH_FAILED = 2, 712, 719
NOT_PERMITTED, ILLEGAL_STATE, UNSUPPORTED, INVALIDATED, WRONG_THREAD = 800, 401, 900, 901, 908
GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
HostFunction = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@pytest.fixture(scope="module")
def drv() -> ModuleType:
    activate()
    import pycuda.driver

    pycuda.driver.init()
    return pycuda.driver


@pytest.fixture
def gpu(drv, simulated_driver) -> Iterator[None]:
    """The first device's primary context, current; nothing may be left in it."""
    context = drv.Device(0).retain_primary_context()
    context.push()
    lost = simulated_driver.count("lost")
    yield
    simulated_driver.forget_failures()
    gc.collect()
    drv.Context.pop()
    context.detach()
    cuda("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
    assert simulated_driver.all_live() == {}
    assert simulated_driver.count("lost") == lost


def code(name: str, *arguments: object) -> int:
    """What a function that pycuda does not have returns."""
    found: int = ctypes.CDLL("libcuda.so.1")[name](*arguments)
    return found


def cuda(name: str, *arguments: object) -> None:
    assert code(name, *arguments) == 0, name


def handle(stream) -> ctypes.c_void_p:
    return ctypes.c_void_p(stream.handle)


def launch(function: ctypes._FuncPointer, stream) -> None:
    """Put a host function into a stream, in the place of a kernel."""
    cuda("cuLaunchHostFunc", handle(stream), function, None)


def begin(stream, mode: int = THREAD_LOCAL) -> None:
    cuda("cuStreamBeginCapture_v2", handle(stream), mode)


def end(stream) -> ctypes.c_void_p:
    """An executable graph of what was captured."""
    graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
    cuda("cuStreamEndCapture", handle(stream), ctypes.byref(graph))
    flags = ctypes.c_ulonglong(0)
    cuda("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, flags)
    cuda("cuGraphDestroy", graph)
    return executable


def end_code(stream) -> int:
    graph = ctypes.c_void_p()
    result = code("cuStreamEndCapture", handle(stream), ctypes.byref(graph))
    if graph:
        cuda("cuGraphDestroy", graph)
    return result


def allocate() -> int:
    """What an allocation, which is freed at once, returns."""
    pointer = ctypes.c_ulonglong()
    result = code("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(4))
    if result == 0:
        code("cuMemFree_v2", pointer)
    return result


def in_threads(drv, *functions: Callable[[], int]) -> list[int]:
    """What functions return that run at once, each in a thread under the current context."""
    context, results = drv.Context.get_current(), {}

    def work(function: Callable[[], int]) -> None:
        context.push()
        results[function] = function()
        drv.Context.pop()

    threads = [threading.Thread(target=work, args=[each], daemon=True) for each in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return [results[function] for function in functions]


def locked(drv, values: list[float]) -> np.ndarray:
    array = drv.pagelocked_empty(len(values), np.float32)
    array[:] = values
    return array


def child(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A process that this one starts; it does nothing to find the simulated driver."""
    activate()
    return subprocess.run(
        [sys.executable, "-c", f"import pycuda.driver as drv; drv.init()\n{program}"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_devices_have_names_capabilities_and_memory(drv):
    devices = [drv.Device(number) for number in range(drv.Device.count())]
    assert [device.name() for device in devices] == ["Simulated A", "Simulated B"]
    assert [device.compute_capability() for device in devices] == [(9, 0), (8, 7)]
    assert [device.total_memory() for device in devices] == [GIB, GIB]
    assert drv.Device(devices[1].pci_bus_id()) == devices[1]
    assert devices[0].get_attribute(drv.device_attribute.WARP_SIZE) == 32
    assert drv.get_driver_version() == 13000


def test_a_device_that_is_not_there_is_refused(drv):
    with pytest.raises(drv.LogicError, match="invalid device ordinal"):
        drv.Device(2)


def test_nothing_works_without_a_current_context(drv):
    with pytest.raises(drv.LogicError, match="invalid device context"):
        drv.mem_alloc(4)
    with pytest.raises(drv.LogicError, match="invalid device context"):
        drv.Stream()


def test_the_primary_context_is_one_and_goes_with_its_last_user(drv, simulated_driver):
    first = drv.Device(1).retain_primary_context()
    second = drv.Device(1).retain_primary_context()
    assert first.handle == second.handle
    assert simulated_driver.live("context") == 2
    first.push()
    assert drv.Context.get_device() == drv.Device(1)
    drv.Context.pop()
    assert simulated_driver.live("stack") == 0
    for context in (first, second):
        context.detach()  # which leaves it on the stack
        cuda("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
    assert simulated_driver.all_live() == {}
    assert code("cuDevicePrimaryCtxRelease_v2", 1) == 201


def test_contexts_of_its_own_stack(drv, simulated_driver):
    outer = drv.Device(0).make_context()
    inner = drv.Device(1).make_context()
    assert drv.Context.get_device() == drv.Device(1)
    inner.detach()
    assert drv.Context.get_device() == drv.Device(0)
    outer.detach()
    assert simulated_driver.all_live() == {}


def test_what_is_left_in_a_context_is_lost_with_it(drv, simulated_driver):
    context = drv.Device(0).make_context()
    left = drv.mem_alloc(4), drv.Stream(), drv.Event()
    lost = simulated_driver.count("lost")
    context.detach()
    assert simulated_driver.count("lost") == lost + len(left)
    assert simulated_driver.all_live() == {}


@pytest.mark.usefixtures("gpu")
def test_a_copy_comes_back(drv):
    source, target = np.arange(6, dtype=np.float32), np.zeros(6, np.float32)
    memory, other = drv.mem_alloc(source.nbytes), drv.mem_alloc(source.nbytes)
    drv.memcpy_htod(memory, source)
    drv.memcpy_dtod(other, memory, source.nbytes)
    drv.memcpy_dtoh(target, other)
    assert (target == source).all()


@pytest.mark.usefixtures("gpu")
def test_new_memory_holds_no_numbers(drv):
    memory, target = drv.mem_alloc(16), np.zeros(4, np.float32)
    drv.memcpy_dtoh(target, memory)
    assert np.isnan(target).all()


@pytest.mark.usefixtures("gpu")
def test_rows_and_fills(drv):
    memory, pitch = drv.mem_alloc_pitch(12, 2, 4)
    source, target = np.arange(6, dtype=np.int32).reshape(2, 3), np.zeros((2, 3), np.int32)
    drv.memset_d2d32(memory, pitch, 7, 3, 2)
    copy = drv.Memcpy2D()
    copy.width_in_bytes, copy.height = 4, 2
    copy.set_src_host(source)
    copy.src_pitch = 12
    copy.set_dst_device(memory)
    copy.dst_pitch, copy.dst_x_in_bytes = pitch, 4
    copy(aligned=True)
    back = drv.Memcpy2D()
    back.width_in_bytes, back.height = 12, 2
    back.set_src_device(memory)
    back.src_pitch = pitch
    back.set_dst_host(target)
    back(aligned=True)
    assert target.tolist() == [[7, 0, 7], [7, 3, 7]]


@pytest.mark.usefixtures("gpu")
def test_what_is_asynchronous_is_done_when_somebody_waits(drv, simulated_driver):
    stream, source, target = drv.Stream(), locked(drv, [1, 2]), locked(drv, [0, 0])
    memory, pageable = drv.mem_alloc(8), simulated_driver.count("pageable")
    drv.memcpy_htod_async(memory, source, stream)
    drv.memcpy_dtoh_async(target, memory, stream)
    source[:] = [3, 4]
    assert target.tolist() == [0, 0]
    stream.synchronize()
    assert target.tolist() == [3, 4]
    assert simulated_driver.count("pageable") == pageable


@pytest.mark.usefixtures("gpu")
def test_pageable_memory_is_read_and_written_at_the_call(drv, simulated_driver):
    stream, source, target = drv.Stream(), np.ones(2, np.float32), np.zeros(2, np.float32)
    memory, pageable = drv.mem_alloc(8), simulated_driver.count("pageable")
    drv.memcpy_htod_async(memory, source, stream)
    source[:] = 5
    drv.memcpy_dtoh_async(target, memory, stream)
    assert target.tolist() == [1, 1]
    assert simulated_driver.count("pageable") == pageable + 2


@pytest.mark.usefixtures("gpu")
def test_a_synchronous_copy_waits_for_blocking_streams_alone(drv):
    memory, target = drv.mem_alloc(4), np.zeros(1, np.float32)
    blocking, other = drv.Stream(), drv.Stream(NON_BLOCKING)
    one, two = locked(drv, [1]), locked(drv, [2])
    drv.memcpy_htod_async(memory, one, blocking)
    drv.memcpy_htod_async(memory, two, other)
    drv.memcpy_dtoh(target, memory)
    assert target.tolist() == [1]
    other.synchronize()
    drv.memcpy_dtoh(target, memory)
    assert target.tolist() == [2]


@pytest.mark.usefixtures("gpu")
def test_a_stream_waits_for_an_event_of_another(drv):
    memory, source, target = drv.mem_alloc(4), locked(drv, [1]), locked(drv, [0])
    first, second = drv.Stream(NON_BLOCKING), drv.Stream(NON_BLOCKING)
    drv.memcpy_htod_async(memory, source, first)
    event = drv.Event().record(first)
    drv.memset_d32_async(memory, 0, 1, first)
    second.wait_for_event(event)
    drv.memcpy_dtoh_async(target, memory, second)
    second.synchronize()
    assert target.tolist() == [1]  # and not what the first does after the event
    drv.memcpy_dtoh(target, memory)
    assert target.tolist() == [1]
    first.synchronize()
    drv.memcpy_dtoh(target, memory)
    assert target.tolist() == [0]


@pytest.mark.usefixtures("gpu")
def test_events_tell_when_they_were_reached(drv):
    stream, slow = drv.Stream(), HostFunction(lambda _: threading.Event().wait(0.02))
    start = drv.Event().record(stream)
    launch(slow, stream)
    stop = drv.Event().record(stream)
    with pytest.raises(drv.RuntimeError, match="not ready"):
        stop.time_since(start)
    stop.synchronize()
    assert 20 <= stop.time_since(start) < 2000


@pytest.mark.usefixtures("gpu")
def test_too_much_memory_is_refused_and_nothing_leaks(drv, simulated_driver):
    some = drv.mem_alloc(1024)
    with pytest.raises(drv.MemoryError, match="out of memory"):
        drv.mem_alloc(GIB - 1023)
    assert drv.mem_get_info() == (GIB - 1024, GIB)
    assert simulated_driver.live("memory") == 1
    some.free()
    assert drv.mem_get_info() == (GIB, GIB)


@pytest.mark.usefixtures("gpu")
def test_a_failure_comes_when_it_was_asked_for(drv, simulated_driver):
    simulated_driver.fail("cuMemAlloc", OUT_OF_MEMORY, nth=2, times=2)
    kept = drv.mem_alloc(4)
    with pytest.raises(drv.MemoryError, match="out of memory"):
        drv.mem_alloc(4)
    assert simulated_driver.live("memory") == 1
    kept.free()


@pytest.mark.usefixtures("gpu")
def test_a_kernel_that_fails_is_told_by_the_next_wait(drv, simulated_driver):
    stream, calls = drv.Stream(), []
    kernel = HostFunction(lambda _: calls.append(1))
    simulated_driver.fail("host", LAUNCH_FAILED)
    launch(kernel, stream)
    launch(kernel, stream)
    with pytest.raises(drv.LaunchError, match="unspecified launch failure"):
        stream.synchronize()
    assert calls == []
    launch(kernel, stream)
    stream.synchronize()
    assert calls == [1]


@pytest.mark.usefixtures("gpu")
def test_pointers_that_are_not_one_allocations_are_refused(drv):
    memory, array = drv.mem_alloc(8), np.zeros(3, np.float32)
    freed = drv.mem_alloc(12)
    freed.free()
    for pointer in (0, int(memory), int(memory) + 12, array.ctypes.data, int(freed)):
        with pytest.raises(drv.LogicError, match="invalid argument"):
            drv.memcpy_htod(pointer, array)
    with pytest.raises(drv.LogicError, match="invalid argument"):
        drv.mem_alloc(0)
    assert code("cuMemFree_v2", ctypes.c_ulonglong(int(memory) + 4)) == 1
    assert code("cuMemFree_v2", ctypes.c_ulonglong(int(freed))) == 1


@pytest.mark.usefixtures("gpu")
def test_page_locked_memory_is_known(drv, simulated_driver):
    array = drv.pagelocked_empty(4, np.float32)
    own = np.zeros(4, np.float32)
    address = ctypes.c_void_p(own.ctypes.data)
    cuda("cuMemHostRegister_v2", address, ctypes.c_size_t(own.nbytes), 0)  # pycuda's crashes
    assert code("cuMemHostRegister_v2", address, ctypes.c_size_t(4), 0) == ALREADY_REGISTERED
    assert simulated_driver.live("host") == 2
    pageable = simulated_driver.count("pageable")
    drv.memcpy_htod_async(array.base.get_device_pointer(), own, drv.Stream())
    assert simulated_driver.count("pageable") == pageable
    cuda("cuMemHostUnregister", address)
    assert array.tolist() == own.tolist()
    array.base.free()
    assert simulated_driver.live("host") == 0


@pytest.mark.usefixtures("gpu")
def test_freeing_waits_for_what_uses_the_memory(drv):
    stream, memory, target = drv.Stream(NON_BLOCKING), drv.mem_alloc(4), locked(drv, [0])
    drv.memset_d32_async(memory, 0, 1, stream)
    drv.memcpy_dtoh_async(target, memory, stream)
    target[:] = 9
    memory.free()
    assert target.tolist() == [0]


@pytest.mark.usefixtures("gpu")
def test_a_captured_graph_replays_what_was_recorded(drv, simulated_driver):
    stream, source, target = drv.Stream(NON_BLOCKING), locked(drv, [1]), locked(drv, [0])
    memory = drv.mem_alloc(4)
    view = np.frombuffer(memory.as_buffer(4), np.float32)
    double = HostFunction(lambda _: np.multiply(view, 2, out=view))
    begin(stream)
    drv.memcpy_htod_async(memory, source, stream)
    launch(double, stream)
    drv.memcpy_dtoh_async(target, memory, stream)
    graph = end(stream)
    stream.synchronize()
    assert target.tolist() == [0]
    for value in (3, 4):
        source[:] = value
        cuda("cuGraphLaunch", graph, handle(stream))
        target[:] = 0
        stream.synchronize()
        assert target.tolist() == [2 * value]
    assert simulated_driver.live("graph") == 1
    cuda("cuGraphExecDestroy", graph)
    assert code("cuGraphLaunch", graph, handle(stream)) == 1


@pytest.mark.usefixtures("gpu")
def test_waiting_for_a_stream_that_is_captured_spoils_the_capture(drv):
    stream = drv.Stream(NON_BLOCKING)
    for wait in (stream.synchronize, stream.is_done, drv.Context.synchronize):
        begin(stream)
        with pytest.raises(drv.LogicError, match="not permitted when stream is capturing"):
            wait()
        assert end_code(stream) == INVALIDATED
    assert end_code(stream) == ILLEGAL_STATE


@pytest.mark.usefixtures("gpu")
def test_allocating_spoils_a_capture_unless_it_is_relaxed_or_another_threads(drv):
    stream = drv.Stream(NON_BLOCKING)
    for mode, elsewhere, spoils in (
        (GLOBAL, False, True),
        (GLOBAL, True, True),
        (THREAD_LOCAL, False, True),
        (THREAD_LOCAL, True, False),
        (RELAXED, False, False),
    ):
        begin(stream, mode)
        got = in_threads(drv, allocate)[0] if elsewhere else allocate()
        assert got == (UNSUPPORTED if spoils else 0)
        assert end_code(stream) == (INVALIDATED if spoils else 0)


@pytest.mark.usefixtures("gpu")
def test_a_thread_local_capture_ends_in_its_own_thread(drv):
    stream = drv.Stream(NON_BLOCKING)
    begin(stream)
    assert in_threads(drv, lambda: end_code(stream)) == [WRONG_THREAD]
    assert end_code(stream) == 0


@pytest.mark.usefixtures("gpu")
def test_two_threads_work_in_one_context(drv):
    def sum_up(start: int) -> int:
        stream, target = drv.Stream(NON_BLOCKING), drv.pagelocked_empty(1, np.int32)
        memory, total = drv.mem_alloc(4), 0
        for value in range(start, start + 200):
            drv.memset_d32_async(memory, value, 1, stream)
            drv.memcpy_dtoh_async(target, memory, stream)
            stream.synchronize()
            total += int(target[0])
        return total

    first, second = in_threads(drv, lambda: sum_up(0), lambda: sum_up(1000))
    assert (first, second) == (sum(range(200)), sum(range(1000, 1200)))


@pytest.mark.usefixtures("gpu")
def test_freeing_with_the_gil_does_not_lock_up_a_kernel_that_needs_it(drv):
    stream, memory, started = drv.Stream(NON_BLOCKING), drv.mem_alloc(4), threading.Event()
    order = []

    def kernel(_: object) -> None:
        started.set()
        threading.Event().wait(0.05)
        order.append("kernel")

    def free() -> int:
        started.wait(10)
        memory.free()
        order.append("free")
        return 0

    def wait() -> int:
        stream.synchronize()
        return 0

    function = HostFunction(kernel)
    launch(function, stream)
    in_threads(drv, free, wait)
    assert order == ["kernel", "free"]


@pytest.mark.usefixtures("gpu")
def test_a_host_function_may_not_call_cuda_except_to_clean_up(drv):
    stream, memory, codes = drv.Stream(NON_BLOCKING), drv.mem_alloc(4), []

    def kernel(_: object) -> None:
        codes.append(allocate())
        memory.free()

    function = HostFunction(kernel)
    launch(function, stream)
    stream.synchronize()
    assert codes == [NOT_PERMITTED]


@pytest.mark.usefixtures("gpu")
def test_kernels_can_ask_where_memory_is(drv, simulated_driver):
    memory = drv.mem_alloc(8)
    assert simulated_driver.inside(int(memory) + 4, 4)
    assert not simulated_driver.inside(int(memory) + 4, 5)
    assert not simulated_driver.inside(locked(drv, [1]).ctypes.data, 4)


def test_what_is_counted_has_a_name(simulated_driver):
    with pytest.raises(ValueError, match=r"kind: expected one of memory, .*, got memories"):
        simulated_driver.live("memories")


def test_devices_are_what_the_environment_says():
    program = "print(drv.Device(0).name(), drv.Device.count())"
    assert child(program, SIM_CUDA_DEVICES="Tiny:7.5:1000").stdout == "Tiny 1\n"


def test_without_devices_cuda_does_not_start():
    said = child("", SIM_CUDA_DEVICES="").stderr
    assert "cuInit failed: no CUDA-capable device is detected" in said


def test_cuda_does_not_work_after_a_fork():
    program = "import os\nif os.fork():\n    os.wait()\nelse:\n    drv.Device.count()"
    assert "cuDeviceGetCount failed: initialization error" in child(program).stderr


def test_a_process_reports_what_it_leaves(tmp_path):
    report = tmp_path / "report.json"
    program = """
import numpy as np
context = drv.Device(0).retain_primary_context()
context.push()
drv.memcpy_htod(drv.mem_alloc(4), np.zeros(1, np.float32))
drv.Context.pop()
"""
    said = child(program, SIM_CUDA_REPORT=str(report))
    (line,) = map(json.loads, report.read_text().splitlines())
    assert line["count"]["HtoD"] == 1, said.stderr
    assert (line["live"]["memory"], line["live"]["context"]) == (0, 1)


def test_the_driver_is_compiled_once_by_whoever_is_first(tmp_path):
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(build, [tmp_path] * 2)
    assert first == second
    assert list(tmp_path.iterdir()) == [first.parent]
    made = first.stat().st_ino
    assert build(tmp_path).stat().st_ino == made
