"""The recipe: everything a run was asked to do, as plain dataclasses checked once at the door."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from backends.contract import DeployError
from deploy.recipes.backend import BackendRecipe, CastRecipe
from deploy.recipes.model import InputRecipe, MarkRecipe, ModelRecipe, PostRecipe, PreRecipe
from deploy.recipes.partition import HostRecipe, HostTensorRecipe, PartitionRecipe, SegmentRecipe

__all__ = [
    "ALL",
    "AUTO",
    "OFF",
    "BackendRecipe",
    "BenchRecipe",
    "BundleRecipe",
    "CastRecipe",
    "ConvertRecipe",
    "FurtherRecipe",
    "HostRecipe",
    "HostTensorRecipe",
    "InputRecipe",
    "MarkRecipe",
    "ModelRecipe",
    "PartitionRecipe",
    "PostRecipe",
    "PreRecipe",
    "PrecisionRecipe",
    "Recipe",
    "RecipeError",
    "SegmentRecipe",
    "VerifyRecipe",
]


class RecipeError(DeployError):
    """A recipe that cannot be carried out as it is written."""


@dataclass
class PrecisionRecipe:
    """The backend that runs a segment in fp32 to find what half precision cannot hold."""

    measure: BackendRecipe | None = None


@dataclass
class ConvertRecipe:
    """How a segment is converted.

    Attributes:
        timeout: seconds until the converter's process is ended.
        memory_gib: that it may allocate; 0 is what the machine has.
        file_gib: of a file that it writes.
        check: whether a result that does not agree with the segment ends the run. Without it the
            bundle is made all the same, fails its verification, and can be asked for its blame.
    """

    timeout: float = 900.0
    memory_gib: float = 0.0
    file_gib: float = 16.0
    check: bool = True


@dataclass
class VerifyRecipe:
    """What is verified: pictures to compare detections on, and whether to evaluate mAP."""

    images: int = 4
    min_matched: float = 0.98
    eval: bool = False


@dataclass
class BundleRecipe:
    """Where the bundle goes, and who signs it.

    Attributes:
        folder: by default ``bundles/<model>-<backend>``.
        sign: the file of an Ed25519 private key.
    """

    folder: str | None = None
    sign: str | None = None


@dataclass
class BenchRecipe:
    """How many runs the closing latency figures are taken from; 0 leaves them out."""

    runs: int = 20


OFF, AUTO = "off", "auto"
ALL = "*"


@dataclass
class FurtherRecipe:
    """A further backend for a segment, or for all that have none of their own (``*``)."""

    segment: str
    backend: BackendRecipe


@dataclass
class Recipe:
    """One deployment: a model, its cuts, a backend for each segment, and where the bundle goes.

    ``cache`` is a folder that keeps exports and conversions for later runs, of at most
    ``cache_gib`` GiB; ``auto``, which is one in the user's cache folder; or ``off``.

    ``also`` is what lists of backends and precisions come to: further ones, among which the device
    chooses. The bundle runs on the first ones unless it does.
    """

    model: ModelRecipe
    backend: BackendRecipe
    bundle: BundleRecipe = field(default_factory=BundleRecipe)
    partition: PartitionRecipe = field(default_factory=PartitionRecipe)
    chain: dict[str, BackendRecipe] = field(default_factory=dict)
    also: list[FurtherRecipe] = field(default_factory=list)
    precision: PrecisionRecipe = field(default_factory=PrecisionRecipe)
    convert: ConvertRecipe = field(default_factory=ConvertRecipe)
    verify: VerifyRecipe = field(default_factory=VerifyRecipe)
    bench: BenchRecipe = field(default_factory=BenchRecipe)
    cache: str = AUTO
    cache_gib: float = 10.0

    def backend_of(self, segment: str) -> BackendRecipe:
        """The backend chosen for this segment, or the one for all."""
        return self.chain.get(segment, self.backend)

    def backends_of(self, segment: str) -> list[BackendRecipe]:
        """All among which the device may choose for this segment; the first is ``backend_of``."""
        key = segment if segment in self.chain else ALL
        return [self.backend_of(segment), *self._further(key)]

    def ranked(self, rank: int) -> Recipe:
        """The recipe with the further backend of this number, from 1 up, in the place of each."""
        found = {key: self._further(key)[rank - 1 : rank] for key in (ALL, *self.chain)}
        further = {key: one for key, several in found.items() for one in several}
        backend = further.pop(ALL, self.backend)
        return replace(self, backend=backend, chain={**self.chain, **further}, also=[])

    def _further(self, key: str) -> list[BackendRecipe]:
        return [one.backend for one in self.also if one.segment == key]

    @property
    def backends(self) -> list[BackendRecipe]:
        """Every one that is named."""
        return [self.backend, *self.chain.values(), *(one.backend for one in self.also)]
