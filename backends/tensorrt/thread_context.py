"""One thread's share of an engine: an execution context, a stream and the memory of its tensors."""

from __future__ import annotations

import numpy as np
import tensorrt as trt

from backends.contract import Array, EngineError, Specs, Tensors, check_tensor
from backends.device import DeviceTensor, DeviceTensors
from backends.tensorrt import cuda
from backends.tensorrt.gpu import Gpu, Memory, Stream, copy_in, copy_out
from backends.tensorrt.log import Log
from backends.tensorrt.profiles import sizes_of


class ThreadContext:
    """To be used by one thread, while the GPU's context is active.

    What is set once stays set: a call with the shapes and addresses of the one before only
    enqueues, allocates nothing, and is a recorded graph where that is asked for.
    """

    def __init__(
        self,
        gpu: Gpu,
        engine: trt.ICudaEngine,
        inputs: Specs,
        outputs: Specs,
        graphs: bool,
        log: Log,
    ) -> None:
        """Raises ``EngineError`` where the GPU's memory is too small."""
        self.stream = Stream(gpu)
        context = engine.create_execution_context()
        if context is None:
            del self.stream  # now, while the GPU's context is active
            raise EngineError(f"TensorRT makes no execution context: {log.take()}")
        self._context = context
        self._inputs = {spec.name: spec for spec in inputs}
        self._outputs = {spec.name: spec for spec in outputs}
        self._place, self._graphs, self._log = gpu.place, graphs, log
        self._memory = {spec.name: Memory() for spec in (*inputs, *outputs)}
        self._growing: dict[str, GrowingOutput] = {}
        self._bound: dict[str, tuple[tuple[int, ...], int]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._enqueued = False  # with what is bound now
        self._graph: cuda.Graph | None = None

    def upload(self, inputs: Tensors, stream: Stream) -> dict[str, DeviceTensor]:
        """Put copies into the stream; the arrays may be changed at once."""
        return {name: self._upload(name, array, stream) for name, array in inputs.items()}

    def run(self, inputs: DeviceTensors, stream: Stream) -> dict[str, DeviceTensor]:
        """Put the computation into the stream."""
        try:
            if self._bind(inputs):
                self._forget_graph()
                self._place_outputs()
            self._enqueue(stream.handle)
        except EngineError:
            self._bound.clear()  # whatever is set now is not what the next call can rely on
            raise
        return {name: self._made(name) for name in self._outputs}

    def download(self, outputs: DeviceTensors, stream: Stream) -> dict[str, Array]:
        """Wait for the stream and for copies of the outputs."""
        staged = {name: self._download(name, tensor, stream) for name, tensor in outputs.items()}
        stream.synchronize()
        return {name: array.copy() for name, array in staged.items()}

    def close(self) -> None:
        """Free everything."""
        self._forget_graph()
        del self._context
        for memory in self._memory.values():
            memory.close()
        del self.stream

    def _upload(self, name: str, array: Array, stream: Stream) -> DeviceTensor:
        check_tensor(self._inputs[name], array.dtype, array.shape)
        dtype = self._inputs[name].dtype
        memory = self._memory[name]
        pointer = memory.device(array.nbytes)
        staged = memory.host(array.shape, dtype)
        staged[...] = array
        copy_in(pointer, staged, stream)
        return DeviceTensor(self._place, dtype, array.shape, pointer)

    def _download(self, name: str, tensor: DeviceTensor, stream: Stream) -> Array:
        staged = self._memory[name].host(tensor.shape, tensor.dtype)
        copy_out(staged, tensor.pointer, stream)
        return staged

    def _bind(self, inputs: DeviceTensors) -> bool:
        """Whether anything has changed since the last call."""
        changed = False
        for name, spec in self._inputs.items():
            tensor = inputs[name]
            bound = (tensor.shape, tensor.pointer)
            if self._bound.get(name) == bound:
                continue
            check_tensor(spec, tensor.dtype, tensor.shape)
            self._set(self._context.set_input_shape(name, tensor.shape), f"shape {tensor.shape}")
            self._set(self._context.set_tensor_address(name, tensor.pointer), "an address")
            self._bound[name] = bound
            changed = True
        return changed

    def _place_outputs(self) -> None:
        for name, spec in self._outputs.items():
            shape = sizes_of(self._context.get_tensor_shape(name))
            if -1 in shape:
                growing = self._growing.setdefault(name, GrowingOutput(self._memory[name]))
                self._set(self._context.set_output_allocator(name, growing), "an allocator")
                continue
            size = int(np.prod(shape)) * np.dtype(spec.dtype).itemsize
            pointer = self._memory[name].device(size)
            self._set(self._context.set_tensor_address(name, pointer), "an address")
            self._shapes[name] = shape

    def _enqueue(self, stream: int) -> None:
        if self._graph is None and self._graphs and self._enqueued and not self._growing:
            self._graph = self._record(stream)
        if self._graph is not None:
            self._graph.launch(stream)
        elif not self._context.execute_async_v3(stream):
            raise EngineError(f"TensorRT failed: {self._log.take()}")
        self._enqueued = True

    def _record(self, stream: int) -> cuda.Graph:
        cuda.begin_capture(stream)
        good = self._context.execute_async_v3(stream)
        graph = cuda.end_capture(stream)
        if not good:
            graph.close()
            raise EngineError(
                f"TensorRT cannot record this engine: {self._log.take()}",
                do="Leave the option cuda_graph out.",
            )
        return graph

    def _forget_graph(self) -> None:
        self._enqueued = False
        if self._graph is not None:
            self._graph.close()
        self._graph = None

    def _made(self, name: str) -> DeviceTensor:
        spec, growing = self._outputs[name], self._growing.get(name)
        shape = self._shapes[name] if growing is None else growing.shape
        pointer = self._memory[name].device(0)
        return DeviceTensor(self._place, spec.dtype, shape, pointer)

    def _set(self, good: bool, what: str) -> None:
        if not good:
            raise EngineError(f"TensorRT does not take {what}: {self._log.take()}")


class GrowingOutput(trt.IOutputAllocator):
    """Memory of an output whose size is known only when it is computed.

    Attributes:
        shape: of the last call.
    """

    def __init__(self, memory: Memory) -> None:
        trt.IOutputAllocator.__init__(self)
        self._memory = memory
        self.shape: tuple[int, ...] = ()

    def reallocate_output_async(
        self, tensor_name: str, memory: int, size: int, alignment: int, stream: int
    ) -> int:
        """Called by TensorRT; 0 says that there is not so much memory."""
        try:
            return self._memory.device(size)
        except EngineError:
            return 0

    def notify_shape(self, tensor_name: str, shape: trt.Dims) -> None:
        """Called by TensorRT."""
        self.shape = sizes_of(shape)
