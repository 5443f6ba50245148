"""How an engine is to be built, and for which sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import SupportsIndex

from . import _cuda as cuda
from ._dims import Dims, sizes_of
from ._enums import BuilderFlag, MemoryPoolType, ProfilingVerbosity, expect
from ._log import ILogger, complain
from ._plan import Ranges
from ._target import TargetConfig
from ._timing import ITimingCache, Timings

_LEVELS = range(6)
_ALL = 1 << 40  # the workspace's limit by default


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: Ranges = {}
        self._values: Ranges = {}

    def set_shape(
        self,
        input: str,
        min: Iterable[SupportsIndex],
        opt: Iterable[SupportsIndex],
        max: Iterable[SupportsIndex],
    ) -> None:
        shapes = [sizes_of(Dims(shape)) for shape in (min, opt, max)]
        negative = any(size < 0 for shape in shapes for size in shape)
        if negative or len({len(shape) for shape in shapes}) > 1:
            raise ValueError(f"The shapes provided are not consistent for input {input}")
        self._shapes[input] = shapes

    def get_shape(self, input: str) -> list[Dims]:
        return [Dims(shape) for shape in self._shapes.get(input, [])]

    def set_shape_input(
        self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]
    ) -> None:
        values = [list(value) for value in (min, opt, max)]
        if len({len(value) for value in values}) > 1:
            raise ValueError(f"The values provided are not consistent for input {input}")
        self._values[input] = values

    def get_shape_input(self, input: str) -> list[list[int]]:
        return self._values.get(input, [])

    def __bool__(self) -> bool:
        ranges = (*self._shapes.values(), *self._values.values())
        return all(
            least <= usual <= most
            for range_ in ranges
            for least, usual, most in zip(*range_, strict=True)
        )


class IBuilderConfig(TargetConfig):
    def __init__(self, logger: ILogger) -> None:
        super().__init__()
        self._logger = logger
        self._flags = {BuilderFlag.TF32}
        self._limits: dict[MemoryPoolType, int] = {}
        self._profiles: list[IOptimizationProfile] = []
        self._cache: ITimingCache | None = None
        self._level = 3
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY

    @property
    def builder_optimization_level(self) -> int:
        return self._level

    @builder_optimization_level.setter
    def builder_optimization_level(self, level: int) -> None:
        if level < 0:
            self._complain("setBuilderOptimizationLevel", f"the level is {level}")
        else:
            self._level = min(level, _LEVELS[-1])

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._profiles)

    def set_flag(self, flag: BuilderFlag) -> None:
        self._flags.add(expect(BuilderFlag, flag))

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.discard(expect(BuilderFlag, flag))

    def get_flag(self, flag: BuilderFlag) -> bool:
        return flag in self._flags

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self._limits[expect(MemoryPoolType, pool)] = pool_size

    def get_memory_pool_limit(self, pool: MemoryPoolType) -> int:
        return self._limits.get(pool, _ALL)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        if not profile:
            text = "a profile's sizes are not in order: min <= opt <= max"
            self._complain("addOptimizationProfile", text)
            return -1
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        data = bytes(serialized_timing_cache)
        try:
            return ITimingCache(Timings.read(data) if data else Timings.here())
        except (ValueError, cuda.CudaError) as error:
            self._complain("createTimingCache", str(error))
            return None

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        wanted = expect(ITimingCache, cache)._timings
        if text := Timings.here().mismatch(wanted, ignore_mismatch):
            self._complain("setTimingCache", text)
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache

    def _complain(self, method: str, text: str) -> None:
        complain(self._logger, f"IBuilderConfig::{method}", 3, "API Usage Error", text)
