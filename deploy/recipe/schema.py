"""The recipe as plain dataclasses, which Hydra fills in and ``validate`` checks once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from backends.contract import DeployError


@dataclass
class CastRecipe:
    """How a segment is cast to half precision.

    Attributes:
        io: whether its inputs and outputs are cast too.
        keep_ops: operators that stay in fp32.
        keep_nodes: nodes that stay in fp32, by their names.
    """

    io: bool = False
    keep_ops: list[str] = field(default_factory=list)
    keep_nodes: list[str] = field(default_factory=list)


@dataclass
class BackendRecipe:
    """A backend by its folder's name, with its own options.

    Attributes:
        name: the folder's.
        options: the backend's own.
        precision: fp32, fp16 or bf16.
        cast: how half precision is reached.
        build: ``desk`` converts here; ``device`` carries the segment along, and
            ``python -m deploy.runtime build`` converts it where it runs.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    cast: CastRecipe = field(default_factory=CastRecipe)
    build: str = "desk"


@dataclass
class InputRecipe:
    """One input of the model.

    Attributes:
        shape: its full shape, with the batch axis first where there is one: sizes, and names of
            ``model.dynamic`` for sizes that vary.
        dtype: of NumPy.
        range: the smallest and largest value to make samples of, both included; by default
            normally distributed floats, integers from 0 to 99, and booleans.
    """

    shape: list[Any]
    dtype: str = "float32"
    range: list[float] | None = None


@dataclass
class MarkRecipe:
    """A mark put on a module from outside: its path in the model, and which side of it."""

    module: str
    at: str = "output"


@dataclass
class PreRecipe:
    """How a picture becomes the input tensor: ``(pixel - mean) / std``, letterboxed."""

    input: str = "image"
    mean: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    std: list[float] = field(default_factory=lambda: [255.0, 255.0, 255.0])
    order: str = "rgb"
    pad: float = 0.0


@dataclass
class PostRecipe:
    """The host step that takes over when the chain ends at the points ``border``."""

    border: list[str]
    id: str
    params: dict[str, Any] = field(default_factory=dict)


@dataclass
class ModelRecipe:
    """A model: the code that builds it or its file, its weights, inputs, and what surrounds it.

    Attributes:
        target: ``package.module:callable`` that returns a ``torch.nn.Module``.
        file: in the place of a target, an ONNX file. Its inputs need only be given to fix sizes
            that it leaves open.
        reference: of a file, the backend that runs it whole, to compare the chain with.
        params: keyword arguments of the target. A mapping with a ``target`` of its own is what
            that returns for its ``params``.
        weights: a file, an ``https`` address, or nothing where the target loads its own.
        sha256: the weights' SHA-256, whole or its first digits; checked after a download.
        readers: for weights files of a model's own format, suffix to ``package.module:callable``.
        dynamic: the name of a size to ``[min, opt, max]``. Names stand in the shapes of the
            inputs; if ``batch`` stands in none, it is axis 0 of every input.
        marks: marks on modules, by their names, for code that has none of its own.
        rewrites: modules of Python with rewrites for the export.
        samples: a folder of pictures to verify and draw with.
        eval: a COCO annotation file beside its pictures.
    """

    name: str
    target: str | None = None
    file: str | None = None
    reference: BackendRecipe | None = None
    inputs: dict[str, InputRecipe] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    sha256: str | None = None
    readers: dict[str, str] = field(default_factory=dict)
    dynamic: dict[str, list[int]] = field(default_factory=dict)
    marks: dict[str, MarkRecipe] = field(default_factory=dict)
    rewrites: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    pre: PreRecipe | None = None
    post: list[PostRecipe] = field(default_factory=list)
    samples: str | None = None
    eval: str | None = None


@dataclass
class SegmentRecipe:
    """A segment between the points ``start`` and ``end``.

    Attributes:
        outputs: a name for each end tensor.
        dynamic: ``{tensor: {axis: [min, opt, max]}}`` for sizes that are known for this segment
            alone, such as how many boxes come out of a host step.
    """

    name: str
    start: list[str]
    end: list[str]
    outputs: list[str] | None = None
    dynamic: dict[str, dict[int, list[int]]] = field(default_factory=dict)


@dataclass
class HostTensorRecipe:
    """What a host step gives.

    Attributes:
        shape: sizes, and names of the step's ``dynamic`` for sizes that vary; by default shape and
            dtype are those that a segment behind it takes.
        dtype: of NumPy.
        at: the point in the model where PyTorch's own value of it is, if there is one.
    """

    shape: list[Any] | None = None
    dtype: str = "float32"
    at: str | None = None


@dataclass
class HostRecipe:
    """What is done on the host between segments.

    Attributes:
        name: of the step.
        id: under which its code is registered.
        inputs: tensors of the chain: a segment's, another host step's, or the model's inputs.
        outputs: the tensors that it makes; segments that start there take them by their names.
        params: keyword arguments of its code.
        dynamic: ``[min, opt, max]`` of each name in the shapes.
        calls: segments that it runs itself, as often as it likes.
    """

    name: str
    id: str
    inputs: list[str] = field(default_factory=list)
    outputs: dict[str, HostTensorRecipe] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    dynamic: dict[str, list[int]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)


@dataclass
class PartitionRecipe:
    """The cuts; none means the whole model is one segment.

    Attributes:
        segments: what each segment is; the rest of the model is the host's.
        cuts: in the place of segments, where to cut the whole model: a mark, a point, or a list
            of them, for each border. The segments are ``part0``, ``part1`` and so on.
        host: what is done between segments.
    """

    segments: list[SegmentRecipe] = field(default_factory=list)
    cuts: list[Any] = field(default_factory=list)
    host: list[HostRecipe] = field(default_factory=list)

    @property
    def across(self) -> list[list[str]]:
        """The points of each border."""
        return [[one] if isinstance(one, str) else list(one) for one in self.cuts]


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
