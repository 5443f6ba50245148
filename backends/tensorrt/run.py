"""TensorRT's device half."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import tensorrt as trt

from backends.contract import Array, Artifact, EngineError, Tensors, check_inputs, files_of
from backends.device import DeviceStream, DeviceTensor, DeviceTensors
from backends.options import parse_options
from backends.tensorrt import Options
from backends.tensorrt.gpu import Gpu, Stream
from backends.tensorrt.log import Log, creation_errors
from backends.tensorrt.plan import check_fits, check_version
from backends.tensorrt.thread_context import ThreadContext


def load(artifact: Artifact, root: Path) -> TensorRTRunner:
    """Load a plan on its GPU. A plan contains code, which is run: load only trusted ones.

    Raises:
        EngineError: no such GPU, or the plan is damaged, or of another TensorRT or GPU.
    """
    options = parse_options(Options, artifact.options, artifact.backend)
    check_version()
    gpu = Gpu(options.device)
    try:
        check_fits(artifact, options, gpu)
        log = Log()
        with gpu.active():
            engine = _engine(files_of(artifact, root, (1 + options.strip,)), options, log)
    except BaseException:
        gpu.close()
        raise
    return TensorRTRunner(gpu, engine, artifact, options, log)


class TensorRTRunner:
    """An engine, with an execution context for each thread that calls it.

    Attributes:
        device: such as ``cuda:0``.
    """

    def __init__(
        self, gpu: Gpu, engine: trt.ICudaEngine, artifact: Artifact, options: Options, log: Log
    ) -> None:
        self.device = gpu.device
        self._gpu, self._artifact, self._options, self._log = gpu, artifact, options, log
        self._engine: trt.ICudaEngine | None = engine
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
            raise EngineError("the TensorRT runner is closed")
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

    def _new_context(self, engine: trt.ICudaEngine) -> ThreadContext:
        inputs, outputs = self._artifact.inputs, self._artifact.outputs
        return ThreadContext(
            self._gpu, engine, inputs, outputs, self._options.cuda_graph, self._log
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._engine is None:
            return
        with self._gpu.active():
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


def _engine(files: Sequence[Path], options: Options, log: Log) -> trt.ICudaEngine:
    trt.init_libnvinfer_plugins(log, "")
    with creation_errors(log, EngineError):
        runtime = trt.Runtime(log)
    # a version-compatible plan contains a runtime of its own version, which runs on the host
    runtime.engine_host_code_allowed = options.version_compatible
    plan = files[0]
    try:
        engine = runtime.deserialize_cuda_engine(plan.read_bytes())
    except OSError as error:
        raise EngineError(f"'{plan.name}' cannot be read: {error.strerror}") from error
    if engine is None:
        raise EngineError(f"'{plan.name}' does not load: {log.take()}", do="Build it again.")
    if options.strip:
        _refit(engine, files[1], log)
    return engine


def _refit(engine: trt.ICudaEngine, model: Path, log: Log) -> None:
    """Give a stripped plan its weights."""
    with creation_errors(log, EngineError):
        refitter = trt.Refitter(engine, log)
    parser = trt.OnnxParserRefitter(refitter, log)
    if not parser.refit_from_file(str(model)) or not refitter.refit_cuda_engine():
        raise EngineError(f"the plan does not accept the weights of '{model.name}': {log.take()}")
