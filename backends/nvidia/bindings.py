"""What shared code needs of a product's Python module.

TensorRT and TensorRT for RTX have one Python API in two modules, each with classes of its own.
Shared code gets one product's classes as ``Bindings``. Its annotations name those of TensorRT.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backends.contract import DeployError, EngineError
from backends.nvidia.border import DTYPES

if TYPE_CHECKING:
    import tensorrt as trt

    from backends.nvidia.gpu import TensorBuffers

_KEPT = 5  # messages
_LAYERS = "Layers:"  # how the builder's description of a plan begins


class Messages:
    """A product's last error messages, for the texts of errors.

    Attributes:
        product: its name, for the same texts.
        layers: what the builder has logged of the layers of its last plan.
    """

    def __init__(self, product: str) -> None:
        self.product = product
        self.layers = ""
        self._errors: deque[str] = deque(maxlen=_KEPT)

    def add(self, message: str) -> None:
        """Keep an error message."""
        self._errors.append(message.strip())

    def take(self) -> str:
        """The errors since the last call, in one line."""
        text = "; ".join(self._errors)
        self._errors.clear()
        return text or "no reason given"

    @contextmanager
    def creation_errors(self, error: type[DeployError]) -> Iterator[None]:
        """Raise ``error`` where no object is created, which the binding reports as TypeError."""
        try:
            yield
        except TypeError as cause:
            raise error(f"{self.product} does not start: {self.take()}") from cause


class OutputMemory:
    """The memory of an output whose shape depends on the data.

    Attributes:
        shape: of the last call.
    """

    def __init__(self, buffers: TensorBuffers) -> None:
        self._buffers = buffers
        self.shape: tuple[int, ...] = ()

    def allocate(self, size: int) -> int:
        """The address of ``size`` bytes; 0 means that the GPU's memory is too small."""
        try:
            return self._buffers.device(size)
        except EngineError:
            return 0


@dataclass(frozen=True)
class Bindings:
    """One product's module.

    Attributes:
        product: its name for people.
        version: such as ``11.4.0.106``.
        builder: its class of this name, as the other classes below.
        typed_network: the flags of a strongly typed network, which computes in its graph's dtypes.
        data_types: TensorRT's type by NumPy's name of it.
        logger: of all its objects, since it keeps the first one that it gets for the process.
        messages: what the logger has kept.
        output_allocator: makes its allocator of an output with a data-dependent shape.
    """

    product: str
    version: str
    builder: type[trt.Builder]
    parser: type[trt.OnnxParser]
    runtime: type[trt.Runtime]
    refitter: type[trt.Refitter]
    parser_refitter: type[trt.OnnxParserRefitter]
    dims: type[trt.Dims]
    builder_flag: type[trt.BuilderFlag]
    memory_pool: type[trt.MemoryPoolType]
    typed_network: int
    data_types: dict[str, trt.DataType]
    logger: trt.ILogger
    messages: Messages
    output_allocator: Callable[[OutputMemory], trt.IOutputAllocator]


def bindings_of(trt: Any, product: str) -> Bindings:
    """What shared code needs of ``trt``, the module of a product."""
    messages = Messages(product)

    class Logger(trt.ILogger):
        """Keeps messages; the product calls it from threads of its own."""

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            """Called by the product."""
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                messages.add(msg)
            elif msg.startswith(_LAYERS):
                messages.layers = msg

    class OutputAllocator(trt.IOutputAllocator):
        """Allocates an output whose shape depends on the data."""

        def __init__(self, memory: OutputMemory) -> None:
            trt.IOutputAllocator.__init__(self)
            self._memory = memory

        def reallocate_output_async(
            self, tensor_name: str, memory: int, size: int, alignment: int, stream: int
        ) -> int:
            """Called by the product; 0 means that the GPU's memory is too small."""
            return self._memory.allocate(size)

        def notify_shape(self, tensor_name: str, shape: trt.Dims) -> None:
            """Called by the product."""
            self._memory.shape = sizes_of(shape)

    return Bindings(
        product=product,
        version=trt.__version__,
        builder=trt.Builder,
        parser=trt.OnnxParser,
        runtime=trt.Runtime,
        refitter=trt.Refitter,
        parser_refitter=trt.OnnxParserRefitter,
        dims=trt.Dims,
        builder_flag=trt.BuilderFlag,
        memory_pool=trt.MemoryPoolType,
        typed_network=1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED),
        data_types={name: getattr(trt.DataType, member) for name, member in DTYPES.items()},
        logger=Logger(),
        messages=messages,
        output_allocator=OutputAllocator,
    )


def sizes_of(dims: trt.Dims) -> tuple[int, ...]:
    """A product's sizes as a tuple; -1 is a size that is not known yet."""
    return tuple(dims[axis] for axis in range(len(dims)))
