"""The names of what ``tune`` measures say which engine each step runs on."""

from __future__ import annotations

from backends.contract import Artifact
from deploy.runtime.tuning.candidates import uniform_candidates


def engine(step: str, backend: str) -> Artifact:
    return Artifact(step, backend, (f"{step}/net",), (), (), options={"threads": 0})


def engines(**backends: list[str]):
    return {
        step: {f"{name}-fp32": engine(step, name) for name in names}
        for step, names in backends.items()
    }


def test_a_step_that_stays_on_its_own_engine_is_named():
    names = list(uniform_candidates(engines(body=["one"], neck=["two"], head=["one"]), [1]))
    assert names == ["one-fp32, neck on two-fp32, 1 thread"]
    both = uniform_candidates(engines(body=["one", "two"], neck=["two"]), [2])
    assert list(both) == ["one-fp32, neck on two-fp32, 2 threads", "two-fp32, 2 threads"]


def test_a_chain_of_one_engine_has_the_threads_alone():
    assert list(uniform_candidates(engines(body=["one"], head=["one"]), [1])) == ["1 thread"]
