"""When the double of TensorRT computes, where outputs go, and what is recorded."""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest

from tests.simulator.engines import (
    ADD,
    LENGTHS,
    NONZERO,
    SIZES,
    Call,
    adder,
    build,
    engine,
    load,
    model,
    numbers,
)

pytestmark = pytest.mark.usefixtures("on_gpu")

THREAD_LOCAL = 1


def test_nothing_is_done_before_somebody_waits(log):
    add = adder(log)
    add.bind(x=numbers(2, 3))
    view = np.frombuffer((ctypes.c_char * 24).from_address(int(add.memory["y"])), np.float32)
    assert add.enqueue()
    assert np.isnan(view).all()
    add.stream.synchronize()
    assert not np.isnan(view).any()


def test_what_is_enqueued_reads_its_inputs_when_it_runs(log):
    add = adder(log)
    _, drv = load()
    add.bind(x=numbers(2, 3))
    later = drv.pagelocked_empty((2, 3), np.float32)
    later[:] = 7
    drv.memcpy_htod_async(add.memory["x"], later, add.stream)
    assert add.enqueue()
    add.stream.synchronize()
    assert (add.read("y") == 14).all()


def test_memory_that_is_gone_poisons_the_outputs(log, capfd):
    add = adder(log)
    add.bind(x=numbers(2, 3))
    add.memory.pop("x").free()
    add.write("y", np.zeros((2, 3), np.float32))
    assert add.enqueue()
    add.stream.synchronize()
    assert np.isnan(add.read("y")).all()
    assert "are not ours" in capfd.readouterr().err


def test_memory_that_is_too_small_poisons_the_outputs(log, capfd):
    add = adder(log)
    add.bind(x=numbers(2, 3))
    assert add.context.set_input_shape("x", (4, 3))
    assert add.enqueue()
    add.stream.synchronize()
    assert "are not ours" in capfd.readouterr().err


def test_memory_of_others_may_be_allowed(log, monkeypatch):
    add = adder(log)
    mine = numbers(2, 3)
    add.bind(x=mine)
    monkeypatch.setenv("SIM_TENSORRT_FOREIGN", "1")
    assert add.context.set_tensor_address("x", mine.ctypes.data)
    assert add.enqueue()
    add.stream.synchronize()
    np.testing.assert_array_equal(add.read("y"), mine * 2)


def growing():
    """An allocator that keeps its memory, and what it was asked for."""
    trt, drv = load()

    class Growing(trt.IOutputAllocator):
        def __init__(self) -> None:
            trt.IOutputAllocator.__init__(self)
            self.asked: list[tuple] = []
            self.shape: tuple[int, ...] = ()
            self.memory = None

        def reallocate_output_async(self, tensor_name, memory, size, alignment, stream):
            self.asked.append((tensor_name, memory, size))
            self.memory = drv.mem_alloc(size)
            return int(self.memory)

        def notify_shape(self, tensor_name, shape):
            self.shape = tuple(shape)

    return Growing()


def test_an_output_whose_size_depends_on_data_asks_for_memory(log):
    _, drv = load()
    call = Call(engine(log, build(log, model(NONZERO), LENGTHS)))
    values = np.array([0, 3, 0, 5, 6], np.float32)
    assert call.context.set_input_shape("x", (5,))
    for name in ("x", "z"):
        call.place(name, (5,))
    late = drv.pagelocked_empty(5, np.float32)
    late[:] = values
    drv.memcpy_htod_async(call.memory["x"], late, call.stream)
    assert call.context.get_tensor_shape("y") == (1, -1)
    assert not call.enqueue()
    assert "no output allocator was set for y" in log.take()
    allocator = growing()
    assert call.context.set_output_allocator("y", allocator)
    assert call.enqueue()
    found = np.empty(allocator.shape, np.int64)
    drv.memcpy_dtoh(found, allocator.memory)
    assert found.tolist() == [[1, 3, 4]]
    assert allocator.asked == [("y", 0, 24)]
    np.testing.assert_array_equal(call.read("z"), -values)


def test_an_empty_output_still_needs_an_address(log):
    call = Call(engine(log, build(log, model(NONZERO), LENGTHS)))
    assert call.context.set_input_shape("x", (3,))
    for name in ("x", "z"):
        call.place(name, (3,))
    call.write("x", np.zeros(3, np.float32))
    allocator = growing()
    call.context.set_output_allocator("y", allocator)
    assert call.enqueue()
    assert allocator.shape == (1, 0)
    assert allocator.asked == [("y", 0, 1)]
    allocator.reallocate_output_async = lambda *_: 0
    assert not call.enqueue()
    assert "no address" in log.take()


def test_an_output_of_a_known_size_may_have_an_allocator_too(log):
    add, allocator = adder(log), growing()
    add.bind(x=numbers(2, 3))
    assert add.context.set_output_allocator("y", allocator)
    assert add.enqueue()
    assert allocator.asked == [("y", int(add.memory["y"]), 24)]
    assert allocator.shape == (2, 3)
    add.stream.synchronize()


def record(call: Call) -> ctypes.c_void_p:
    """An executable graph of one call."""
    library, stream = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p(call.stream.handle)
    graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
    assert library.cuStreamBeginCapture_v2(stream, THREAD_LOCAL) == 0
    good = call.enqueue()
    assert library.cuStreamEndCapture(stream, ctypes.byref(graph)) == 0
    flags = ctypes.c_ulonglong(0)
    assert library.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, flags) == 0
    assert library.cuGraphDestroy(graph) == 0
    assert good, "not enqueued"
    return executable


def replay(graph: ctypes.c_void_p, stream) -> None:
    assert ctypes.CDLL("libcuda.so.1").cuGraphLaunch(graph, ctypes.c_void_p(stream.handle)) == 0
    stream.synchronize()


def test_a_recorded_call_is_repeated_with_new_inputs(log, capfd):
    add = adder(log)
    add.bind(x=numbers(2, 3))
    graph = record(add)
    for factor in (1, 5):
        add.write("x", numbers(2, 3) * factor)
        replay(graph, add.stream)
        np.testing.assert_allclose(add.read("y"), numbers(2, 3) * factor * 2, rtol=1e-6)
    del add.context
    replay(graph, add.stream)
    assert "outlived the execution context" in capfd.readouterr().err
    ctypes.CDLL("libcuda.so.1").cuGraphExecDestroy(graph)


def test_an_output_whose_size_depends_on_data_cannot_be_recorded(log):
    library = ctypes.CDLL("libcuda.so.1")
    call = Call(engine(log, build(log, model(NONZERO), LENGTHS)))
    call.context.set_input_shape("x", (5,))
    for name in ("x", "z"):
        call.place(name, (5,))
    call.context.set_output_allocator("y", growing())
    stream, graph = ctypes.c_void_p(call.stream.handle), ctypes.c_void_p()
    library.cuStreamBeginCapture_v2(stream, THREAD_LOCAL)
    assert not call.enqueue()
    assert "cannot be captured" in log.take()
    library.cuStreamEndCapture(stream, ctypes.byref(graph))
    library.cuGraphDestroy(graph)


def test_two_threads_cannot_use_a_context_at_once(log):
    call = Call(engine(log, build(log, model(NONZERO), LENGTHS)))
    call.context.set_input_shape("x", (5,))
    for name in ("x", "z"):
        call.place(name, (5,))
    allocator, results = growing(), []
    call.context.set_output_allocator("y", allocator)
    allocate = allocator.reallocate_output_async

    def meanwhile(*arguments):
        other = threading.Thread(target=lambda: results.append(call.enqueue()))
        other.start()
        other.join(30)
        return allocate(*arguments)

    allocator.reallocate_output_async = meanwhile
    assert call.enqueue()
    assert results == [False]
    assert "two threads use the context at once" in log.take()


def test_a_context_works_in_one_stream_at_a_time(log):
    _, drv = load()
    add = adder(log)
    add.bind(x=numbers(2, 3))
    other = drv.Stream(1)
    assert add.enqueue()
    assert add.enqueue()
    assert not add.context.execute_async_v3(other.handle)
    assert "still at work in another stream" in log.take()
    add.stream.synchronize()
    assert add.context.execute_async_v3(other.handle)
    other.synchronize()


def test_threads_with_contexts_of_their_own_get_their_own_results(log):
    _, drv = load()
    loaded, context = engine(log, build(log, model(ADD), SIZES)), drv.Context.get_current()
    wrong = []

    def work(seed: int) -> None:
        context.push()
        call = Call(loaded)
        for turn in range(20):
            mine = numbers(1 + (seed + turn) % 4, 3) * seed
            if not np.allclose(call(x=mine)["y"], mine * 2):
                wrong.append(seed)
        del call
        drv.Context.pop()

    threads = [threading.Thread(target=work, args=[seed]) for seed in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
