"""New weights for an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._engine import ICudaEngine
from ._enums import expect
from ._log import ILogger, complain
from ._plan import Weight

if TYPE_CHECKING:
    import onnx


class Refitter:
    """Gives an engine its weights, where it was built for that."""

    def __init__(self, engine: ICudaEngine, logger: ILogger) -> None:
        self._engine, self._logger = engine, expect(ILogger, logger)
        self._filled: bytes | None = None
        if not engine._plan.refittable:
            self._complain("The engine is not refittable.")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def get_missing_weights(self) -> list[str]:
        return [] if self._filled else list(self._engine._plan.weights)

    def refit_cuda_engine(self) -> bool:
        if self._filled is None:
            self._complain(f"{len(self.get_missing_weights())} weights are missing")
            return False
        self._engine._take(self._filled)
        return True

    def _offer(self, parsed: onnx.ModelProto) -> list[str]:
        """Take the weights of a model; what is wrong with them, otherwise."""
        import onnx

        from . import _prepare

        source = _prepare.prepare(parsed).graph
        if wrong := self._wrong(_prepare.weights(source)):
            return wrong
        target = onnx.ModelProto.FromString(self._engine._model)
        _prepare.fill(target.graph, source)
        self._filled = target.SerializeToString()
        return []

    def _wrong(self, found: dict[str, Weight]) -> list[str]:
        plan = self._engine._plan
        # of other values the real one says that nothing is known about the results
        identical = "REFIT" not in plan.flags
        return [
            f"the model has no weights for {name} that fit"
            for name, weight in plan.weights.items()
            if not _fits(found.get(name), weight, identical)
        ]

    def _complain(self, text: str) -> None:
        complain(self._logger, "IRefitter::refitCudaEngine", 4, "API Usage Error", text)


def _fits(found: Weight | None, wanted: Weight, identical: bool) -> bool:
    if found is None or (found.dtype, found.dims) != (wanted.dtype, wanted.dims):
        return False
    return found.digest == wanted.digest or not identical
