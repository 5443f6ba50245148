"""One pipeline in many threads, also where a step fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from backends.contract import DeployError, EngineError
from deploy.runtime import Pipeline
from deploy.runtime.execution.host_steps import HostStepError
from tests.helpers.digit_scenes import scene
from tests.helpers.runtime_chains import THREADS, as_bytes, noise, run_concurrently


@pytest.fixture(scope="module")
def default_threads_pipeline(digits_bundle) -> Iterator[Pipeline]:
    """The engine chooses its number of threads per call."""
    with Pipeline.open(digits_bundle) as pipeline:
        yield pipeline


def test_eight_threads_find_in_their_pictures_what_one_finds(default_threads_pipeline):
    expected = [as_bytes(default_threads_pipeline(scene(number))) for number in range(THREADS)]
    assert len({tensors[0] for tensors in expected}) == THREADS
    results = run_concurrently(
        lambda number: [as_bytes(default_threads_pipeline(scene(number))) for _ in range(4)]
    )
    assert results == [[tensors] * 4 for tensors in expected]


def test_eight_threads_get_the_tensors_that_one_gets(default_threads_pipeline):
    inputs = [default_threads_pipeline.prepare(scene(number))[0] for number in range(THREADS)]
    expected = [as_bytes(default_threads_pipeline.chain(tensors)) for tensors in inputs]
    results = run_concurrently(
        lambda number: [as_bytes(default_threads_pipeline.chain(inputs[number])) for _ in range(4)]
    )
    assert results == [[tensors] * 4 for tensors in expected]


def test_eight_threads_share_a_chain_of_several_segments(multi_step_chain):
    chain, _ = multi_step_chain
    expected = [as_bytes(chain(noise(number))) for number in range(THREADS)]
    results = run_concurrently(lambda number: [as_bytes(chain(noise(number))) for _ in range(50)])
    assert results == [[tensors] * 50 for tensors in expected]


FAILURES = [
    ("first", EngineError("out of memory"), EngineError, "^step 'first': out of memory$"),
    ("third", EngineError("out of memory"), EngineError, "^step 'third': out of memory$"),
    ("second", RuntimeError("boom"), EngineError, "^step 'second': RuntimeError: boom$"),
    ("third", MemoryError(), EngineError, "^step 'third': MemoryError: $"),
    ("halve", KeyError("lost"), HostStepError, "^step 'halve': KeyError: 'lost'$"),
    ("halve", HostStepError("no regions"), HostStepError, "^step 'halve': no regions$"),
]


@pytest.mark.parametrize(("name", "error", "kind", "message"), FAILURES)
def test_a_step_that_fails_is_named_and_the_next_call_is_right(
    multi_step_chain, name, error, kind, message
):
    chain, injectors = multi_step_chain
    expected = as_bytes(chain(noise(0)))
    for _ in range(3):
        with injectors[name].failing(error), pytest.raises(kind, match=message) as caught:
            chain(noise(0))
        assert isinstance(caught.value, DeployError) and caught.value.__cause__
        assert as_bytes(chain(noise(0))) == expected


@pytest.mark.parametrize(("name", "error", "kind", "message"), FAILURES)
def test_the_calls_of_one_thread_may_fail_while_seven_go_on(
    multi_step_chain, name, error, kind, message
):
    chain, injectors = multi_step_chain
    expected = [as_bytes(chain(noise(number))) for number in range(THREADS)]
    failing_threads: set[int] = set()

    def work(number: int) -> list[object]:
        if number == 3:
            failing_threads.add(threading.get_ident())
            for _ in range(20):
                with pytest.raises(kind, match=message):
                    chain(noise(number))
            failing_threads.clear()
        return [as_bytes(chain(noise(number))) for _ in range(20)]

    with injectors[name].failing(error, failing_threads):
        assert run_concurrently(work) == [[tensors] * 20 for tensors in expected]
