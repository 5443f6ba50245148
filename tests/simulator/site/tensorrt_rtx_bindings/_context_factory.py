"""How an engine makes its execution contexts, which compile their kernels when they first run."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

from ._enums import expect
from ._rtx_enums import DynamicShapesKernelSpecializationStrategy
from ._runtime_cache import IRuntimeCache
from ._runtime_config import IRuntimeConfig

if TYPE_CHECKING:
    from ._context import IExecutionContext, Shapes

compiled: list[str] = []  # in this process


class ContextFactory:
    """The part of an engine that does."""

    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig(self._logger)

    def create_execution_context(
        self, runtime_config: IRuntimeConfig | None = None
    ) -> IExecutionContext | None:
        config = expect(IRuntimeConfig, runtime_config or self.create_runtime_config())
        cache = config._cache or IRuntimeCache(self._logger)
        return self._new_context(partial(self._compile, cache, config._kernels))

    def _compile(
        self,
        cache: IRuntimeCache,
        strategy: DynamicShapesKernelSpecializationStrategy,
        shapes: Shapes,
    ) -> None:
        """Compile a general kernel, and one for these shapes where the strategy wants that."""
        engine = hashlib.sha256(self._model).hexdigest()
        kernels = [engine]
        specialized = strategy != DynamicShapesKernelSpecializationStrategy.NONE
        if specialized and any(-1 in tensor.shape for tensor in self._plan.tensors):
            kernels.append(f"{engine} {sorted(shapes.items())}")
        compiled.extend(kernel for kernel in kernels if cache._add(kernel))
