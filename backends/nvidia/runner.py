"""A loaded engine as a runner: an execution context for each thread that calls it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from backends.contract import Array, Artifact, EngineError, Tensors, check_inputs
from backends.device import DeviceStream, DeviceTensor, DeviceTensors
from backends.nvidia.engine import LoadedEngine
from backends.nvidia.gpu import Gpu, Stream
from backends.nvidia.thread_context import ThreadContext


class GpuRunner:
    """An engine, with an execution context for each thread that calls it.

    Attributes:
        device: such as ``cuda:0``.
    """

    def __init__(self, gpu: Gpu, engine: LoadedEngine, artifact: Artifact, graphs: bool) -> None:
        """Take over the GPU and the engine, which are released at exit.

        Args:
            gpu: that runs it.
            engine: loaded on it.
            artifact: of the engine.
            graphs: whether calls are captured as CUDA graphs and launched again.
        """
        self.device = gpu.device
        self._gpu, self._artifact, self._graphs = gpu, artifact, graphs
        self._product = engine.bindings.product
        self._engine: LoadedEngine | None = engine
        self._contexts: dict[int, ThreadContext] = {}
        self._lock = threading.Lock()

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run once; see ``Runner``."""
        arrays = check_inputs(self._artifact.inputs, inputs)
        named = {
            spec.name: array for spec, array in zip(self._artifact.inputs, arrays, strict=True)
        }
        stream = self.stream()
        return self.download(self.run(self.upload(named, stream), stream), stream)

    def stream(self) -> DeviceStream:
        """This thread's stream."""
        with self._context() as context:
            return context.stream

    def upload(self, inputs: Tensors, stream: DeviceStream | None) -> dict[str, DeviceTensor]:
        """See ``DeviceRunner``."""
        with self._context() as context, _working_stream(context, stream) as working:
            return context.upload(inputs, working)

    def run(self, inputs: DeviceTensors, stream: DeviceStream | None) -> dict[str, DeviceTensor]:
        """See ``DeviceRunner``."""
        with self._context() as context, _working_stream(context, stream) as working:
            return context.run(inputs, working)

    def download(self, outputs: DeviceTensors, stream: DeviceStream | None) -> dict[str, Array]:
        """See ``DeviceRunner``."""
        with self._context() as context, _working_stream(context, stream) as working:
            return context.download(outputs, working)

    @contextmanager
    def _context(self) -> Iterator[ThreadContext]:
        """This thread's context, while the GPU's is active."""
        if self._engine is None:
            raise EngineError(f"the {self._product} runner is closed")
        with self._gpu.active():
            thread = threading.get_ident()
            if thread not in self._contexts:
                with self._lock:
                    self._contexts[thread] = self._unused_context() or self._new_context(
                        self._engine
                    )
            yield self._contexts[thread]

    def _unused_context(self) -> ThreadContext | None:
        """A context whose thread has ended."""
        alive = {thread.ident for thread in threading.enumerate()}
        ended = next((thread for thread in self._contexts if thread not in alive), None)
        return None if ended is None else self._contexts.pop(ended)

    def _new_context(self, engine: LoadedEngine) -> ThreadContext:
        inputs, outputs = self._artifact.inputs, self._artifact.outputs
        return ThreadContext(self._gpu, engine, inputs, outputs, self._graphs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._engine is None:
            return
        with self._gpu.active():
            self._engine.ran()
            for context in self._contexts.values():
                context.close()
            self._contexts.clear()
            self._engine = None  # the last reference: frees the weights while the GPU is active
        self._gpu.close()


@contextmanager
def _working_stream(context: ThreadContext, stream: DeviceStream | None) -> Iterator[Stream]:
    """The caller's stream if it has one; else the context's, synchronized at the end."""
    if isinstance(stream, Stream):
        yield stream
    else:
        yield context.stream
        context.stream.synchronize()
