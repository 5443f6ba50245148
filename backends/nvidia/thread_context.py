"""An execution context of an engine for one thread, with its stream and tensor buffers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from backends.contract import Array, EngineError, Specs, Tensors, check_tensor
from backends.device import DeviceTensor, DeviceTensors
from backends.nvidia import cuda
from backends.nvidia.bindings import OutputMemory, sizes_of
from backends.nvidia.engine import LoadedEngine
from backends.nvidia.gpu import Gpu, Stream, TensorBuffers, copy_from_gpu, copy_to_gpu

if TYPE_CHECKING:
    import tensorrt as trt


class ThreadContext:
    """To be used by one thread, while the GPU's context is active.

    Shapes and addresses stay bound: a call with those of the previous call allocates nothing and
    only enqueues, or launches a CUDA graph if ``graphs`` is set.
    """

    def __init__(
        self, gpu: Gpu, engine: LoadedEngine, inputs: Specs, outputs: Specs, graphs: bool
    ) -> None:
        """Raises ``EngineError`` if the GPU's memory is too small."""
        self.stream = Stream(gpu)
        self._messages, self._product = engine.bindings.messages, engine.bindings.product
        context = engine.new_context()
        if context is None:
            del self.stream  # now, while the GPU's context is active
            raise EngineError(
                f"{self._product} creates no execution context: {self._messages.take()}"
            )
        self._context = context
        self._inputs = {spec.name: spec for spec in inputs}
        self._outputs = {spec.name: spec for spec in outputs}
        self._device, self._graphs, self._bindings = gpu.device, graphs, engine.bindings
        self._ran: Callable[[], None] | None = engine.ran  # until it was called
        self._buffers = {spec.name: TensorBuffers() for spec in (*inputs, *outputs)}
        self._memories: dict[str, OutputMemory] = {}
        self._allocators: dict[str, trt.IOutputAllocator] = {}  # the context does not keep them
        self._bound: dict[str, tuple[tuple[int, ...], int]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._enqueued = False  # with the shapes and addresses that are bound now
        self._graph: cuda.Graph | None = None

    def upload(self, inputs: Tensors, stream: Stream) -> dict[str, DeviceTensor]:
        """Put copies into the stream; the caller may change the arrays afterwards."""
        return {name: self._upload(name, array, stream) for name, array in inputs.items()}

    def run(self, inputs: DeviceTensors, stream: Stream) -> dict[str, DeviceTensor]:
        """Put the computation into the stream."""
        try:
            if self._bind_inputs(inputs):
                self._discard_graph()
                self._bind_outputs()
            self._enqueue(stream.handle)
            if self._ran is not None:
                self._ran()
                self._ran = None
        except EngineError:
            self._bound.clear()  # the next call must not rely on what is set now
            raise
        return {name: self._output(name) for name in self._outputs}

    def download(self, outputs: DeviceTensors, stream: Stream) -> dict[str, Array]:
        """Copy the outputs in the stream and wait for it."""
        staged = {name: self._download(name, tensor, stream) for name, tensor in outputs.items()}
        stream.synchronize()
        return {name: array.copy() for name, array in staged.items()}

    def close(self) -> None:
        """Free everything."""
        self._discard_graph()
        del self._context
        for buffers in self._buffers.values():
            buffers.close()
        del self.stream

    def _upload(self, name: str, array: Array, stream: Stream) -> DeviceTensor:
        check_tensor(self._inputs[name], array.dtype, array.shape)
        dtype = self._inputs[name].dtype
        buffers = self._buffers[name]
        pointer = buffers.device(array.nbytes)
        staged = buffers.host(array.shape, dtype)
        staged[...] = array
        copy_to_gpu(pointer, staged, stream)
        return DeviceTensor(self._device, dtype, array.shape, pointer)

    def _download(self, name: str, tensor: DeviceTensor, stream: Stream) -> Array:
        staged = self._buffers[name].host(tensor.shape, tensor.dtype)
        copy_from_gpu(staged, tensor.pointer, stream)
        return staged

    def _bind_inputs(self, inputs: DeviceTensors) -> bool:
        """Bind shapes and addresses; returns whether any has changed since the last call."""
        changed = False
        for name, spec in self._inputs.items():
            tensor = inputs[name]
            bound = (tensor.shape, tensor.pointer)
            if self._bound.get(name) == bound:
                continue
            check_tensor(spec, tensor.dtype, tensor.shape)
            self._check_set(
                self._context.set_input_shape(name, tensor.shape), f"shape {tensor.shape}"
            )
            self._check_set(self._context.set_tensor_address(name, tensor.pointer), "an address")
            self._bound[name] = bound
            changed = True
        return changed

    def _bind_outputs(self) -> None:
        for name, spec in self._outputs.items():
            shape = sizes_of(self._context.get_tensor_shape(name))
            if -1 in shape:
                self._bind_allocator(name)
                continue
            size = int(np.prod(shape)) * np.dtype(spec.dtype).itemsize
            pointer = self._buffers[name].device(size)
            self._check_set(self._context.set_tensor_address(name, pointer), "an address")
            self._shapes[name] = shape

    def _bind_allocator(self, name: str) -> None:
        """Let the engine allocate an output whose shape it knows only when it has computed it."""
        if name not in self._allocators:
            self._memories[name] = OutputMemory(self._buffers[name])
            self._allocators[name] = self._bindings.output_allocator(self._memories[name])
        accepted = self._context.set_output_allocator(name, self._allocators[name])
        self._check_set(accepted, "an allocator")

    def _enqueue(self, stream: int) -> None:
        if self._graph is None and self._graphs and self._enqueued and not self._allocators:
            self._graph = self._capture(stream)
        if self._graph is not None:
            self._graph.launch(stream)
        elif not self._context.execute_async_v3(stream):
            raise EngineError(f"{self._product} failed: {self._messages.take()}")
        self._enqueued = True

    def _capture(self, stream: int) -> cuda.Graph:
        cuda.begin_capture(stream)
        enqueued = self._context.execute_async_v3(stream)
        graph = cuda.end_capture(stream)
        if not enqueued:
            graph.close()
            raise EngineError(
                f"{self._product} cannot record this engine: {self._messages.take()}",
                do="Leave the option cuda_graph out.",
            )
        return graph

    def _discard_graph(self) -> None:
        self._enqueued = False
        if self._graph is not None:
            self._graph.close()
        self._graph = None

    def _output(self, name: str) -> DeviceTensor:
        spec, memory = self._outputs[name], self._memories.get(name)
        shape = self._shapes[name] if memory is None else memory.shape
        pointer = self._buffers[name].device(0)
        return DeviceTensor(self._device, spec.dtype, shape, pointer)

    def _check_set(self, accepted: bool, what: str) -> None:
        if not accepted:
            raise EngineError(f"{self._product} does not accept {what}: {self._messages.take()}")
