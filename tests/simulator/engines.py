"""Plans and engines of the doubles of NVIDIA's products, as their users make and call them."""

from __future__ import annotations

import ctypes
import gc
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tests.simulator import Driver, activate

Ranges = Mapping[str, Sequence[Sequence[int]]]
_NON_BLOCKING = 1

ADD = "(float[N, 3] x) => (float[N, 3] y) { y = Add(x, x) }"
SIZES = {"x": [(1, 3), (2, 3), (4, 3)]}
RESIZED = """(float[N, 3, H, W] x) => (float[N, 4, A, B] y) {
    c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)
    s = Shape(c)
    k = Constant <value_ints = [1, 1, 2, 2]> ()
    t = Mul(s, k)
    y = Resize <mode = "nearest"> (c, , , t)
}"""
IMAGES = {"x": [(1, 3, 2, 2), (1, 3, 4, 5), (2, 3, 9, 9)]}
NONZERO = "(float[N] x) => (int64[K, L] y, float[N] z) { y = NonZero(x) \n z = Neg(x) }"
SCALE = "(float[2, 3] x) => (float[2, 3] y) { y = Mul(x, w) }"
ONES = np.ones((2, 3), np.float32)
LENGTHS = {"x": [(1,), (4,), (9,)]}


def load(package: str = "tensorrt") -> tuple[ModuleType, ModuleType]:
    """A double, and pycuda over the simulated driver."""
    activate()
    drv = importlib.import_module("pycuda.driver")
    drv.init()
    return importlib.import_module(package), drv


def double_of(value: Any) -> ModuleType:
    """The double whose object this is, or whose class a user's class derives from."""
    names = [kind.__module__.partition(".")[0] for kind in type(value).__mro__]
    return sys.modules[next(name for name in names if name.startswith("tensorrt"))]


@contextmanager
def device(number: int = 0) -> Iterator[None]:
    """A device's primary context is current; nothing may be left in it."""
    load()
    driver = Driver()
    before, lost = driver.all_live(), driver.count("lost")
    try:
        with current(number):
            yield
            driver.forget_failures()
            gc.collect()
    finally:
        driver.forget_failures()
    assert driver.all_live() == before
    assert driver.count("lost") == lost


@contextmanager
def current(number: int) -> Iterator[None]:
    """A device's primary context is current."""
    drv = load()[1]
    context = drv.Device(number).retain_primary_context()
    context.push()
    try:
        yield
    finally:
        drv.Context.pop()
        context.detach()
        # where pycuda leaves it
        ctypes.CDLL("libcuda.so.1").cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))


def listener(package: str = "tensorrt") -> Any:
    """A logger that keeps the errors."""
    trt = load(package)[0]

    class Listener(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self.errors.append(msg)

        def take(self) -> str:
            errors, self.errors = self.errors, []
            return "\n".join(errors)

    return Listener()


def model(text: str, opset: int = 18, **weights: Any) -> onnx.ModelProto:
    """A graph in ONNX's own notation, with weights."""
    made = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}]>\ng {text}')
    for name, value in weights.items():
        made.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return made


def parse(log: Any, made: onnx.ModelProto) -> tuple[Any, Any]:
    """The parser and its network."""
    trt = double_of(log)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = trt.Builder(log).create_network(typed)
    parser = trt.OnnxParser(network, log)
    parser.parse(made.SerializeToString())
    return parser, network


def build(
    log: Any,
    made: onnx.ModelProto,
    ranges: Ranges | None = None,
    flags: Sequence[str] = (),
    configure: Callable[[Any], object] = lambda config: None,
) -> bytes | None:
    """A plan for these ranges of sizes."""
    trt = double_of(log)
    builder = trt.Builder(log)
    config = builder.create_builder_config()
    for flag in flags:
        config.set_flag(trt.BuilderFlag[flag])
    if ranges:
        profile = builder.create_optimization_profile()
        for name, shapes in ranges.items():
            profile.set_shape(name, *shapes)
        config.add_optimization_profile(profile)
    configure(config)
    return builder.build_serialized_network(parse(log, made)[1], config)


def engine(log: Any, plan: bytes | None, host_code: bool = False) -> Any:
    """What a plan is loaded into, or None."""
    assert plan is not None, log.take()
    runtime = double_of(log).Runtime(log)
    runtime.engine_host_code_allowed = host_code
    return runtime.deserialize_cuda_engine(plan)


class Call:
    """An execution context, a stream, and memory for whatever it is called with.

    Attributes:
        context: the execution context.
        stream: pycuda's.
        memory: of each tensor, pycuda's.
    """

    def __init__(self, engine: Any, *config: Any) -> None:
        self.trt, self.drv = double_of(engine), load()[1]
        self.engine, self.context = engine, engine.create_execution_context(*config)
        self.stream = self.drv.Stream(_NON_BLOCKING)
        self.memory: dict[str, Any] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        """The outputs of one call."""
        self.bind(**inputs)
        assert self.enqueue()
        self.stream.synchronize()
        return {name: self.read(name) for name in self.names(False)}

    def bind(self, **inputs: Any) -> None:
        """Put inputs on the device, and set shapes and addresses."""
        for name, value in inputs.items():
            assert self.context.set_input_shape(name, value.shape)
            self.place(name, value.shape)
            self.write(name, value)
        for name in self.names(False):
            self.place(name, tuple(self.context.get_tensor_shape(name)))

    def place(self, name: str, shape: tuple[int, ...]) -> None:
        """New memory for a tensor."""
        size = int(np.prod(shape)) * self.dtype(name).itemsize
        self.memory[name] = self.drv.mem_alloc(max(size, 1))
        self.shapes[name] = shape
        assert self.context.set_tensor_address(name, int(self.memory[name]))

    def write(self, name: str, value: Any) -> None:
        self.drv.memcpy_htod(self.memory[name], np.ascontiguousarray(value))

    def read(self, name: str) -> Any:
        value = np.empty(self.shapes[name], self.dtype(name))
        self.drv.memcpy_dtoh(value, self.memory[name])
        return value

    def enqueue(self) -> bool:
        return bool(self.context.execute_async_v3(self.stream.handle))

    def names(self, inputs: bool) -> list[str]:
        """Of the inputs, or of the outputs."""
        wanted = self.trt.TensorIOMode.INPUT if inputs else self.trt.TensorIOMode.OUTPUT
        every = map(self.engine.get_tensor_name, range(self.engine.num_io_tensors))
        return [name for name in every if self.engine.get_tensor_mode(name) == wanted]

    def dtype(self, name: str) -> np.dtype:
        return np.dtype(self.trt.nptype(self.engine.get_tensor_dtype(name)))


def adder(log: Any) -> Call:
    """An engine that doubles; not a fixture, which pytest would keep beyond the device's end."""
    return Call(engine(log, build(log, model(ADD), SIZES)))


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def weighted(factor: float = 2) -> onnx.ModelProto:
    """A model that multiplies by its only weight."""
    return model(SCALE, w=ONES * np.float32(factor))


def parser_errors(parser: Any) -> list[tuple[str, int, str, str]]:
    """The code, node number, node name and operator of each error of a parser."""
    errors = [parser.get_error(number) for number in range(parser.num_errors)]
    return [(e.code().name, e.node(), e.node_name(), e.node_operator()) for e in errors]
