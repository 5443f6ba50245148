"""The simulated driver under the real pycuda, and under ctypes where pycuda has no face for it."""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest

from tests.simulator.driver_calls import (
    ALREADY_REGISTERED,
    GIB,
    LAUNCH_FAILED,
    NON_BLOCKING,
    NOT_FOUND,
    NOT_PERMITTED,
    OUT_OF_MEMORY,
    HostFunction,
    allocate,
    code,
    cubin,
    cuda,
    in_threads,
    launch,
    page_locked,
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
    stream, source, target = drv.Stream(), page_locked(drv, [1, 2]), page_locked(drv, [0, 0])
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
    one, two = page_locked(drv, [1]), page_locked(drv, [2])
    drv.memcpy_htod_async(memory, one, blocking)
    drv.memcpy_htod_async(memory, two, other)
    drv.memcpy_dtoh(target, memory)
    assert target.tolist() == [1]
    other.synchronize()
    drv.memcpy_dtoh(target, memory)
    assert target.tolist() == [2]


@pytest.mark.usefixtures("gpu")
def test_a_stream_waits_for_an_event_of_another(drv):
    memory, source, target = drv.mem_alloc(4), page_locked(drv, [1]), page_locked(drv, [0])
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
    stream, memory, target = drv.Stream(NON_BLOCKING), drv.mem_alloc(4), page_locked(drv, [0])
    drv.memset_d32_async(memory, 0, 1, stream)
    drv.memcpy_dtoh_async(target, memory, stream)
    target[:] = 9
    memory.free()
    assert target.tolist() == [0]


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
    assert not simulated_driver.inside(page_locked(drv, [1]).ctypes.data, 4)


def test_what_is_counted_has_a_name(simulated_driver):
    with pytest.raises(ValueError, match=r"kind: expected one of memory, .*, got memories"):
        simulated_driver.live("memories")


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (b".version 9.4\n.target sm_89\n\0", "ptx sm_89"),
        (cubin(version=8, flags=0x06005604), "cubin sm_86"),
        (cubin(version=7, flags=0x00560556), "cubin sm_86"),
        (b"\x50\xed\x55\xba\1\0" + bytes(58), "module"),
    ],
)
def test_a_module_is_refused_and_counted_by_what_it_was_compiled_for(
    drv, simulated_driver, image, kind
):
    before = simulated_driver.count(kind)
    with pytest.raises(drv.LogicError, match="operation not supported"):
        drv.module_from_buffer(image)
    assert simulated_driver.count(kind) == before + 1


@pytest.mark.usefixtures("drv")
def test_there_are_no_private_tables():
    table = ctypes.c_void_p(1)
    assert code("cuGetExportTable", ctypes.byref(table), bytes(16)) == NOT_FOUND
    assert table.value is None
