"""Streams that are captured into graphs."""

from __future__ import annotations

import numpy as np
import pytest

from tests.simulator.driver_calls import (
    GLOBAL,
    ILLEGAL_STATE,
    INVALIDATED,
    NON_BLOCKING,
    RELAXED,
    THREAD_LOCAL,
    UNSUPPORTED,
    WRONG_THREAD,
    HostFunction,
    allocate,
    begin_capture,
    code,
    cuda,
    end_capture,
    end_capture_code,
    handle,
    in_threads,
    launch,
    page_locked,
)


@pytest.mark.usefixtures("gpu")
def test_a_captured_graph_replays_what_was_recorded(drv, simulated_driver):
    stream, source, target = drv.Stream(NON_BLOCKING), page_locked(drv, [1]), page_locked(drv, [0])
    memory = drv.mem_alloc(4)
    view = np.frombuffer(memory.as_buffer(4), np.float32)
    double = HostFunction(lambda _: np.multiply(view, 2, out=view))
    begin_capture(stream)
    drv.memcpy_htod_async(memory, source, stream)
    launch(double, stream)
    drv.memcpy_dtoh_async(target, memory, stream)
    graph = end_capture(stream)
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
        begin_capture(stream)
        with pytest.raises(drv.LogicError, match="not permitted when stream is capturing"):
            wait()
        assert end_capture_code(stream) == INVALIDATED
    assert end_capture_code(stream) == ILLEGAL_STATE


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
        begin_capture(stream, mode)
        got = in_threads(drv, allocate)[0] if elsewhere else allocate()
        assert got == (UNSUPPORTED if spoils else 0)
        assert end_capture_code(stream) == (INVALIDATED if spoils else 0)


@pytest.mark.usefixtures("gpu")
def test_a_thread_local_capture_ends_in_its_own_thread(drv):
    stream = drv.Stream(NON_BLOCKING)
    begin_capture(stream)
    assert in_threads(drv, lambda: end_capture_code(stream)) == [WRONG_THREAD]
    assert end_capture_code(stream) == 0
