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
from backends.tensorrt.log import Log, started
from backends.tensorrt.plan import check_fits, check_version
from backends.tensorrt.thread_context import ThreadContext


def load(artifact: Artifact, root: Path) -> TensorRTRunner:
    """Load a plan on its GPU; a plan is code, and what it says is run.

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
    """An engine; each thread that calls it gets a lane of its own.

    Attributes:
        place: such as ``cuda:0``.
    """

    def __init__(
        self, gpu: Gpu, engine: trt.ICudaEngine, artifact: Artifact, options: Options, log: Log
    ) -> None:
        self.place = gpu.place
        self._gpu, self._artifact, self._options, self._log = gpu, artifact, options, log
        self._engine: trt.ICudaEngine | None = engine
        self._lanes: dict[int, ThreadContext] = {}
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
        with self._lane() as lane:
            return lane.stream

    def upload(self, inputs: Tensors, stream: DeviceStream | None) -> dict[str, DeviceTensor]:
        """See ``DeviceRunner``."""
        with self._lane() as lane, _in(lane, stream) as used:
            return lane.upload(inputs, used)

    def run(self, inputs: DeviceTensors, stream: DeviceStream | None) -> dict[str, DeviceTensor]:
        """See ``DeviceRunner``."""
        with self._lane() as lane, _in(lane, stream) as used:
            return lane.run(inputs, used)

    def download(self, outputs: DeviceTensors, stream: DeviceStream | None) -> dict[str, Array]:
        """See ``DeviceRunner``."""
        with self._lane() as lane, _in(lane, stream) as used:
            return lane.download(outputs, used)

    @contextmanager
    def _lane(self) -> Iterator[ThreadContext]:
        """This thread's lane, with the GPU's context active."""
        if self._engine is None:
            raise EngineError("the TensorRT runner is closed")
        with self._gpu.active():
            thread = threading.get_ident()
            if thread not in self._lanes:
                with self._lock:
                    self._lanes[thread] = self._left_behind() or self._new_lane(self._engine)
            yield self._lanes[thread]

    def _left_behind(self) -> ThreadContext | None:
        """A lane whose thread has ended."""
        alive = {thread.ident for thread in threading.enumerate()}
        ended = next((thread for thread in self._lanes if thread not in alive), None)
        return None if ended is None else self._lanes.pop(ended)

    def _new_lane(self, engine: trt.ICudaEngine) -> ThreadContext:
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
            for lane in self._lanes.values():
                lane.close()
            self._lanes.clear()
            self._engine = None  # the last reference: frees the weights while the GPU is active
        self._gpu.close()


@contextmanager
def _in(lane: ThreadContext, stream: DeviceStream | None) -> Iterator[Stream]:
    """The stream to work in: the given one, or one's own, which is then waited for."""
    if isinstance(stream, Stream):
        yield stream
    else:
        yield lane.stream
        lane.stream.synchronize()


def _engine(files: Sequence[Path], options: Options, log: Log) -> trt.ICudaEngine:
    trt.init_libnvinfer_plugins(log, "")
    with started(log, EngineError):
        runtime = trt.Runtime(log)
    # such a plan carries a runtime of its own version, which is code of the host
    runtime.engine_host_code_allowed = options.version_compatible
    plan = files[0]
    try:
        engine = runtime.deserialize_cuda_engine(plan.read_bytes())
    except OSError as error:
        raise EngineError(f"'{plan.name}' cannot be read: {error.strerror}") from error
    if engine is None:
        raise EngineError(f"'{plan.name}' does not load: {log.take()}", do="Build it again.")
    if options.strip:
        _complete(engine, files[1], log)
    return engine


def _complete(engine: trt.ICudaEngine, model: Path, log: Log) -> None:
    """Give a stripped plan its weights."""
    with started(log, EngineError):
        refitter = trt.Refitter(engine, log)
    parser = trt.OnnxParserRefitter(refitter, log)
    if not parser.refit_from_file(str(model)) or not refitter.refit_cuda_engine():
        raise EngineError(f"the plan does not take the weights of '{model.name}': {log.take()}")
