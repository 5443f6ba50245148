"""Neighbours on one device hand their tensors over there; a copy is made once, where it must be."""

from __future__ import annotations

import numpy as np
import pytest

from backends.contract import Artifact, EngineError, TensorSpec
from backends.device import DeviceRunner, DeviceTensor
from deploy.runtime.execution.chain import Chain


class Stream:
    handle = 7

    def __init__(self) -> None:
        self.waits = 0

    def synchronize(self) -> None:
        self.waits += 1


class OnDevice:
    """Adds one to the sum of its inputs; its "device memory" is a dict, its log every copy."""

    def __init__(self, log, inputs, output, device="sim:0", stream=None):
        self.device, self.log, self.output, self._stream = device, log, output, stream
        self.inputs, self.fails, self.used = inputs, False, []

    def stream(self):
        return self._stream

    def upload(self, inputs, stream):
        self.log += [f"up {name} to {self.device}" for name in inputs]
        return {name: self._tensor(array) for name, array in inputs.items()}

    def run(self, inputs, stream):
        self.used.append(stream)
        if self.fails:
            raise EngineError("no kernel")
        assert list(inputs) == self.inputs
        assert all(tensor.device == self.device for tensor in inputs.values())
        return {self.output: self._tensor(1 + sum(tensor.owner for tensor in inputs.values()))}

    def download(self, outputs, stream):
        self.log += [f"down {name} from {self.device}" for name in outputs]
        return {name: tensor.owner.copy() for name, tensor in outputs.items()}

    def _tensor(self, array):
        return DeviceTensor(self.device, "float32", array.shape, 1, array)

    def __call__(self, inputs):
        raise AssertionError("a chain takes the parts")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class OnHost:
    def __init__(self, output):
        self.output = output

    def __call__(self, inputs):
        return {self.output: 1 + sum(inputs.values())}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def specs(*names):
    return tuple(TensorSpec(name, "float32", (1,)) for name in names)


def chain(steps, outputs, inputs=("x",)):
    """Steps as ``(inputs, output, runner)``."""
    artifacts = [
        (Artifact(f"to_{output}", "none", ("f",), specs(*names), specs(output)), runner)
        for names, output, runner in steps
    ]
    return Chain(artifacts, specs(*inputs), specs(*outputs))


X = {"x": np.array([1.0], np.float32)}


def test_a_device_runner_is_known_by_its_methods():
    assert isinstance(OnDevice([], ["x"], "y"), DeviceRunner)
    assert not isinstance(OnHost("y"), DeviceRunner)


def test_neighbours_on_one_device_copy_only_what_goes_in_and_comes_out():
    log = []
    steps = [([a], b, OnDevice(log, [a], b)) for a, b in ("xa", "ab", "bc")]
    assert chain(steps, ["c"])(X)["c"] == 4
    assert log == ["up x to sim:0", "down c from sim:0"]


def test_an_input_that_two_steps_take_goes_up_once():
    log = []
    steps = [
        (["x"], "a", OnDevice(log, ["x"], "a")),
        (["x", "a"], "b", OnDevice(log, ["x", "a"], "b")),
    ]
    assert chain(steps, ["b"])(X)["b"] == 4
    assert log == ["up x to sim:0", "down b from sim:0"]


def test_a_step_on_the_host_in_between_costs_one_copy_each_way():
    log = []
    steps = [
        (["x"], "a", OnDevice(log, ["x"], "a")),
        (["a"], "b", OnHost("b")),
        (["b"], "c", OnDevice(log, ["b"], "c")),
    ]
    assert chain(steps, ["c"])(X)["c"] == 4
    expected = ["up x to sim:0", "down a from sim:0", "up b to sim:0", "down c from sim:0"]
    assert log == expected


def test_a_tensor_wanted_on_both_sides_comes_down_once_and_stays_up():
    log = []
    steps = [
        (["x"], "a", OnDevice(log, ["x"], "a")),
        (["a"], "b", OnHost("b")),
        (["a"], "c", OnDevice(log, ["a"], "c")),
    ]
    found = chain(steps, ["a", "b", "c"])(X)
    assert {name: float(value[0]) for name, value in found.items()} == {"a": 2, "b": 3, "c": 3}
    assert log == ["up x to sim:0", "down a from sim:0", "down c from sim:0"]


def test_outputs_of_one_runner_come_down_together():
    log = []
    first = OnDevice(log, ["x"], "a")
    first.run = lambda inputs, stream: {
        name: first._tensor(inputs["x"].owner * factor) for name, factor in (("a", 2), ("b", 3))
    }
    calls = []
    download = first.download
    first.download = lambda outputs, stream: (
        calls.append(sorted(outputs)) or download(outputs, stream)
    )
    artifact = Artifact("both", "none", ("f",), specs("x"), specs("a", "b"))
    assert Chain([(artifact, first)], specs("x"), specs("a", "b"))(X)["b"] == 3
    assert calls == [["a", "b"]]


def test_two_devices_meet_on_the_host():
    log = []
    steps = [
        (["x"], "a", OnDevice(log, ["x"], "a")),
        (["a"], "b", OnDevice(log, ["a"], "b", device="sim:1")),
    ]
    assert chain(steps, ["b"])(X)["b"] == 3
    expected = ["up x to sim:0", "down a from sim:0", "up a to sim:1", "down b from sim:1"]
    assert log == expected


def test_all_runners_of_a_device_work_in_the_stream_of_the_first_that_has_one():
    one, other = Stream(), Stream()
    runners = [OnDevice([], ["x"], "a"), OnDevice([], ["a"], "b", stream=one)]
    runners += [OnDevice([], ["b"], "c", stream=other)]
    steps = [(runner.inputs, runner.output, runner) for runner in runners]
    chain(steps, ["c"])(X)
    assert [runner.used for runner in runners] == [[one]] * 3
    assert one.waits == 0


def test_a_timed_call_waits_for_the_device_after_each_of_its_steps():
    stream, seconds = Stream(), {}
    steps = [
        (["x"], "a", OnDevice([], ["x"], "a", stream=stream)),
        (["a"], "b", OnHost("b")),
        (["b"], "c", OnDevice([], ["b"], "c", stream=stream)),
    ]
    chain(steps, ["c"]).timed(X, seconds)
    assert stream.waits == 2 and list(seconds) == ["to_a", "to_b", "to_c"]


def test_a_step_that_fails_on_a_device_is_named_and_the_chain_stays_usable():
    first, second = OnDevice([], ["x"], "a"), OnDevice([], ["a"], "b")
    both = chain([(["x"], "a", first), (["a"], "b", second)], ["b"])
    second.fails = True
    with pytest.raises(EngineError, match="step 'to_b': no kernel"):
        both(X)
    second.fails = False
    assert both(X)["b"] == 3


def test_a_border_between_precisions_is_converted_once_on_the_host():
    log = []
    half = TensorSpec("a", "float16", (1,))
    steps = [
        (Artifact("one", "none", ("f",), specs("x"), specs("a")), OnDevice(log, ["x"], "a")),
        (Artifact("two", "none", ("f",), (half,), specs("b")), OnDevice(log, ["a"], "b")),
        (Artifact("three", "none", ("f",), (half,), specs("c")), OnDevice(log, ["a"], "c")),
    ]
    found = Chain(steps, specs("x"), specs("b", "c"))(X)
    assert found["b"] == found["c"] == 3
    assert log[:3] == ["up x to sim:0", "down a from sim:0", "up a to sim:0"]
    assert sorted(log[3:]) == ["down b from sim:0", "down c from sim:0"]
