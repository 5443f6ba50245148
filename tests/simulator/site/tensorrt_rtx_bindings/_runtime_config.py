"""How an engine is to run."""

from __future__ import annotations

from ._enums import expect
from ._log import ILogger
from ._rtx_enums import CudaGraphStrategy, DynamicShapesKernelSpecializationStrategy
from ._runtime_cache import IRuntimeCache


class IRuntimeConfig:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        self._cache: IRuntimeCache | None = None
        self._graphs = CudaGraphStrategy.DISABLED
        self._kernels = DynamicShapesKernelSpecializationStrategy.LAZY

    @property
    def cuda_graph_strategy(self) -> CudaGraphStrategy:
        return self._graphs

    @cuda_graph_strategy.setter
    def cuda_graph_strategy(self, strategy: CudaGraphStrategy) -> None:
        self._graphs = expect(CudaGraphStrategy, strategy)

    @property
    def dynamic_shapes_kernel_specialization_strategy(
        self,
    ) -> DynamicShapesKernelSpecializationStrategy:
        return self._kernels

    @dynamic_shapes_kernel_specialization_strategy.setter
    def dynamic_shapes_kernel_specialization_strategy(
        self, strategy: DynamicShapesKernelSpecializationStrategy
    ) -> None:
        self._kernels = expect(DynamicShapesKernelSpecializationStrategy, strategy)

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache(self._logger)

    def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
        self._cache = expect(IRuntimeCache, cache)
        return True

    def get_runtime_cache(self) -> IRuntimeCache | None:
        return self._cache
