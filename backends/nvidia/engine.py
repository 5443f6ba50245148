"""Plan -> engine: what both products do the same way when they load a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backends.contract import EngineError
from backends.nvidia.bindings import Bindings, Messages

if TYPE_CHECKING:
    import tensorrt as trt


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class LoadedEngine:
    """An engine, with all that has to live as long as it.

    Attributes:
        bindings: of the product.
        messages: of its logger.
        runtime: that loaded the engine.
        new_context: makes an execution context; None where the product cannot.
        ran: called after the first run of a context and before the engine is released.
    """

    bindings: Bindings
    messages: Messages
    runtime: trt.Runtime
    new_context: Callable[[], trt.IExecutionContext | None]
    ran: Callable[[], None] = _nothing


def new_runtime(bindings: Bindings, messages: Messages) -> trt.Runtime:
    """A runtime of the product.

    Raises:
        EngineError: it does not start.
    """
    with messages.creation_errors(EngineError):
        return bindings.runtime(bindings.logger(messages))


def read_plan(path: Path) -> bytes:
    """The bytes of a plan.

    Raises:
        EngineError: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineError(f"'{path.name}' cannot be read: {error.strerror}") from error


def load_plan(runtime: trt.Runtime, name: str, plan: bytes, messages: Messages) -> trt.ICudaEngine:
    """Load a plan on the current GPU.

    Args:
        runtime: of the product that built the plan.
        name: of its file.
        plan: its bytes.
        messages: of the runtime's logger.

    Raises:
        EngineError: the plan is damaged, or does not fit the product or the GPU.
    """
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(f"'{name}' does not load: {messages.take()}", do="Build it again.")
    return engine


def refit_from_model(
    bindings: Bindings, engine: trt.ICudaEngine, model: Path, messages: Messages
) -> None:
    """Give a stripped plan its weights, which are those of an ONNX file.

    Raises:
        EngineError: they are not the plan's.
    """
    logger = bindings.logger(messages)
    with messages.creation_errors(EngineError):
        refitter = bindings.refitter(engine, logger)
    parser = bindings.parser_refitter(refitter, logger)
    if not parser.refit_from_file(str(model)) or not refitter.refit_cuda_engine():
        raise EngineError(
            f"the plan does not accept the weights of '{model.name}': {messages.take()}"
        )
