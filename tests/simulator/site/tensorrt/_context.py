"""Engines at work."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from . import _cuda as cuda
from . import _faults as faults
from . import _jobs as jobs
from ._allocator import IOutputAllocator, ask
from ._dims import Dims, sizes_of
from ._enums import DataType, expect, nptype
from ._jobs import Job, Place
from ._log import complain
from ._memory import Block
from ._plan import Tensor
from ._session import Session

if TYPE_CHECKING:
    from ._engine import ICudaEngine

_ALIGNMENT = 256  # bytes
Method = TypeVar("Method", bound=Callable[..., bool])
Shapes = Mapping[str, tuple[int, ...]]  # of the inputs
Started = Callable[[Shapes], None]  # called when a computation is enqueued


class RefusedError(Exception):
    """A context that cannot be used like this."""


def _by_one(method: Method) -> Method:
    """Refuse a second thread while a first one is in the context; and report what is refused."""

    @wraps(method)
    def guarded(self: IExecutionContext, *arguments: Any, **named: Any) -> bool:
        if not self._used.acquire(blocking=False):
            return self._complain(method.__name__, "two threads use the context at once")
        try:
            return method(self, *arguments, **named)
        except (RefusedError, cuda.CudaError) as error:
            return self._complain(method.__name__, str(error))
        finally:
            self._used.release()

    return cast(Method, guarded)


class IExecutionContext:
    def __init__(self, engine: ICudaEngine, memory: Block, started: Started) -> None:
        self.name = ""
        self._engine, self._memory, self._started = engine, memory, started
        self._inputs = [tensor for tensor in engine._plan.tensors if tensor.is_input]
        self._outputs = [tensor for tensor in engine._plan.tensors if not tensor.is_input]
        fixed = (tensor for tensor in self._inputs if -1 not in tensor.shape)
        self._shapes = {tensor.name: tuple(tensor.shape) for tensor in fixed}
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, IOutputAllocator] = {}
        self._used = threading.RLock()
        self._waiting: dict[object, int] = {}  # enqueued computations and their streams
        self._recorded: list[int] = []
        weakref.finalize(self, jobs.drop, self._recorded).atexit = False

    @property
    def engine(self) -> ICudaEngine:
        return self._engine

    @property
    def active_optimization_profile(self) -> int:
        return 0

    @property
    def all_binding_shapes_specified(self) -> bool:
        return not self._missing()

    @_by_one
    def set_input_shape(self, name: str, shape: tuple[int, ...] | list[int] | Dims) -> bool:
        if not isinstance(shape, tuple | list | Dims):
            raise TypeError("set_input_shape(): incompatible function arguments")
        sizes = tuple(sizes_of(Dims(shape)))
        self._check_shape(self._named(name, self._inputs), sizes)
        self._shapes[name] = sizes
        return True

    @_by_one
    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._named(name, self._inputs + self._outputs)
        if int(memory) % _ALIGNMENT and not os.environ.get("SIM_TENSORRT_FOREIGN"):
            raise RefusedError(f"the address of {name} is not aligned to {_ALIGNMENT} bytes")
        self._addresses[name] = int(memory)
        return True

    @_by_one
    def set_output_allocator(self, name: str, output_allocator: IOutputAllocator | None) -> bool:
        self._named(name, self._outputs)
        if output_allocator is None:
            self._allocators.pop(name, None)
        else:
            self._allocators[name] = expect(IOutputAllocator, output_allocator)
        return True

    def get_output_allocator(self, name: str) -> IOutputAllocator | None:
        return self._allocators.get(name)

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def get_tensor_shape(self, name: str) -> Dims:
        """-1 is not known: before the inputs' shapes are set, or before it is computed."""
        tensor = self._named(name, self._inputs + self._outputs)
        if tensor.is_input or self._missing():
            return Dims(self._shapes.get(name, tensor.shape))
        try:
            return Dims(self._session().shape(name, len(tensor.shape)))
        except RefusedError as error:
            self._complain("getTensorShape", str(error))
            return Dims(tensor.shape)

    def infer_shapes(self) -> list[str]:
        """The inputs whose shapes have still to be set."""
        missing = self._missing()
        if not missing:
            try:
                self._session()
            except RefusedError as error:
                raise RuntimeError(str(error)) from error
        return missing

    @_by_one
    def execute_async_v3(self, stream_handle: int) -> bool:
        stream = int(stream_handle)
        if faults.due("execute"):
            raise RefusedError("failed on request")
        self._check_ready(stream)
        self._started(self._shapes)
        session = self._session()
        inputs = [self._input(tensor) for tensor in self._inputs]
        shapes = {one.name: session.shape(one.name, len(one.shape)) for one in self._outputs}
        recording = cuda.capturing(stream)
        if all(-1 not in shape for shape in shapes.values()):
            outputs = [self._output(one, shapes[one.name], stream) for one in self._outputs]
            self._put(stream, session, inputs, outputs, recording)
        elif recording:
            raise RefusedError("an output's size depends on data: it cannot be captured")
        else:
            self._compute(stream, session, inputs)
        return True

    def _check_ready(self, stream: int) -> None:
        if cuda.device() != self._engine._device:
            raise RefusedError("the current device is not the engine's")
        if missing := self._missing():
            raise RefusedError(f"no shape was set for {', '.join(missing)}")
        if set(self._waiting.values()) - {stream}:
            raise RefusedError("the context is still at work in another stream")

    def _put(
        self,
        stream: int,
        session: Session,
        inputs: list[Place],
        outputs: list[Place],
        recording: bool,
    ) -> None:
        """Into the stream, where it waits."""
        waiting, token = self._waiting, object()
        if not recording:
            waiting[token] = stream
        job = Job(session, inputs, outputs, lambda: waiting.pop(token, None))
        try:
            number = jobs.enqueue(stream, job, recording)
        except cuda.CudaError:
            waiting.pop(token, None)
            raise
        if recording:
            self._recorded.append(number)

    def _compute(self, stream: int, session: Session, inputs: list[Place]) -> None:
        """At once, for the sizes of the outputs are needed."""
        cuda.synchronize(stream)
        try:
            feed = {place.name: place.array() for place in inputs}
            found = session.run([tensor.name for tensor in self._outputs], feed)
        except Exception as error:
            raise RefusedError(f"ONNX Runtime failed: {error}") from error
        for tensor, value in zip(self._outputs, found, strict=True):
            depends = -1 in session.shape(tensor.name, len(tensor.shape))
            if depends and tensor.name not in self._allocators:
                raise RefusedError(f"no output allocator was set for {tensor.name}")
            self._output(tensor, list(value.shape), stream).array()[...] = value

    def _input(self, tensor: Tensor) -> Place:
        return self._place(tensor, self._shapes[tensor.name], self.get_tensor_address(tensor.name))

    def _output(self, tensor: Tensor, shape: list[int], stream: int) -> Place:
        name, address = tensor.name, self.get_tensor_address(tensor.name)
        place = self._place(tensor, tuple(shape), address or _ALIGNMENT)
        if name in self._allocators:
            address = ask(self._allocators[name], name, address, place.nbytes, shape, stream)
        return self._place(tensor, place.shape, address)

    def _place(self, tensor: Tensor, shape: tuple[int, ...], address: int) -> Place:
        if not address:
            raise RefusedError(f"no address was set for {tensor.name}")
        return Place(tensor.name, address, nptype(DataType[tensor.dtype]), shape)

    def _missing(self) -> list[str]:
        return [tensor.name for tensor in self._inputs if tensor.name not in self._shapes]

    def _session(self) -> Session:
        sessions = self._engine._sessions
        assert sessions is not None  # or there would be no context
        try:
            return sessions.at(self._engine._plan.sizes(self._shapes))
        except Exception as error:
            raise RefusedError(f"these shapes do not fit together: {error}") from error

    def _check_shape(self, tensor: Tensor, shape: tuple[int, ...]) -> None:
        name = tensor.name
        least, _, most = self._engine._plan.profiles[0][name]
        if len(shape) != len(tensor.shape):
            raise RefusedError(f"{name} has {len(tensor.shape)} dimensions, not {len(shape)}")
        for axis, size in enumerate(shape):
            if tensor.shape[axis] not in (-1, size):
                raise RefusedError(
                    f"Static dimension mismatch while setting input shape for {name}. "
                    f"Set dimensions are {list(shape)}. Expected dimensions are {tensor.shape}."
                )
            if not least[axis] <= size <= most[axis]:
                raise RefusedError(
                    f"Set dimension [{size}] for tensor {name} does not satisfy any optimization "
                    f"profiles. Valid range for profile 0: [{least[axis]}]..[{most[axis]}]."
                )

    def _named(self, name: str, tensors: list[Tensor]) -> Tensor:
        for tensor in tensors:
            if tensor.name == name:
                return tensor
        raise RefusedError(f"{name} is no name of such a tensor")

    def _complain(self, method: str, text: str) -> bool:
        where = f"IExecutionContext::{method}"
        complain(self._engine._logger, where, 3, "API Usage Error", text)
        return False
