"""Plan -> engine: what both products do the same way when they load a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backends.contract import EngineError
from backends.nvidia.bindings import Bindings

if TYPE_CHECKING:
    import tensorrt as trt


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class LoadedEngine:
    """An engine, with all that has to live as long as it.

    Attributes:
        bindings: of the product.
        runtime: that loaded the engine.
        new_context: makes an execution context; None where the product cannot.
        ran: called after the first run of a context and before the engine is released.
    """

    bindings: Bindings
    runtime: trt.Runtime
    new_context: Callable[[], trt.IExecutionContext | None]
    ran: Callable[[], None] = _nothing


def new_runtime(bindings: Bindings) -> trt.Runtime:
    """A runtime of the product.

    Raises:
        EngineError: it does not start.
    """
    with bindings.messages.creation_errors(EngineError):
        return bindings.runtime(bindings.logger)


def read_plan(path: Path) -> bytes:
    """The bytes of a plan.

    Raises:
        EngineError: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineError(f"'{path.name}' cannot be read: {error.strerror}") from error


def load_plan(bindings: Bindings, runtime: trt.Runtime, name: str, plan: bytes) -> trt.ICudaEngine:
    """Load a plan on the current GPU.

    Args:
        bindings: of the product that built the plan.
        runtime: of the same product.
        name: of its file.
        plan: its bytes.

    Raises:
        EngineError: the plan is damaged, or does not fit the product or the GPU.
    """
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        reason = bindings.messages.take()
        raise EngineError(f"'{name}' does not load: {reason}", do="Build it again.")
    return engine


def refit_from_model(bindings: Bindings, engine: trt.ICudaEngine, model: Path) -> None:
    """Give a stripped plan its weights, which are those of an ONNX file.

    Raises:
        EngineError: they are not the plan's.
    """
    messages, logger = bindings.messages, bindings.logger
    with messages.creation_errors(EngineError):
        refitter = bindings.refitter(engine, logger)
    parser = bindings.parser_refitter(refitter, logger)
    if not parser.refit_from_file(str(model)) or not refitter.refit_cuda_engine():
        raise EngineError(
            f"the plan does not accept the weights of '{model.name}': {messages.take()}"
        )
