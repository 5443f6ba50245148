"""The recipe of a run as plain dataclasses, filled in by Hydra and checked by ``validate``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from backends.acceptance import MIN_MATCHED
from backends.contract import DeployError
from deploy.recipe.devices import DeviceRecipe


@dataclass
class CastRecipe:
    """How a segment is cast to half precision.

    Attributes:
        io: whether its inputs and outputs are cast too.
        keep_ops: operator types that stay in fp32.
        keep_nodes: names of nodes that stay in fp32.
    """

    io: bool = False
    keep_ops: list[str] = field(default_factory=list)
    keep_nodes: list[str] = field(default_factory=list)


@dataclass
class BackendRecipe:
    """A backend with its options.

    Attributes:
        name: of the backend's folder in ``backends/``.
        options: of the backend; their names and types are the backend's.
        precision: fp32, fp16 or bf16.
        cast: how a segment is cast to half precision.
        build: ``desk`` converts on this machine; ``device`` puts the segment's ONNX file into the
            bundle, and ``python -m deploy.runtime build`` converts it on the device.
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
        shape: the full shape, with the batch axis first where there is one: sizes, and names of
            ``model.dynamic`` for dynamic sizes.
        dtype: NumPy's name of the data type.
        range: the smallest and largest value of samples, both included; by default samples are
            normally distributed floats, integers from 0 to 99, and booleans.
        value: of an ONNX file, what the input is in every run, as a number or nested lists. The
            chain then has no such input. Its shape need not be given.
    """

    shape: list[Any]
    dtype: str = "float32"
    range: list[float] | None = None
    value: Any = None


@dataclass
class MarkRecipe:
    """A mark on a module by its path in the model, at its input, its output or both."""

    module: str
    at: str = "output"


@dataclass
class PreRecipe:
    """Pre-processing of a picture: resized, then ``(pixel - mean) / std``.

    The presets of ``conf/pre/`` set these; docs/preprocessing.md shows what each does.

    Attributes:
        input: the tensor's name; by default the only input that has the shape of pictures.
        resize: ``letterbox`` keeps the ratio of the sides and pads, ``stretch`` does not keep it,
            ``crop`` keeps it and takes the middle.
        align: where a letterboxed picture lies: at the ``corner`` at the top left, or in the
            ``centre``.
        shortest: for ``crop``, the pixels that the shorter side is scaled to.
        crop_pct: where ``shortest`` is not given, the share of the scaled picture that the tensor
            holds, such as 0.875 for 224 of 256 pixels.
        multiple: for an input with dynamic height and width, the tensor ends at the next multiple
            of this behind the letterboxed picture.
        interpolation: bilinear, bicubic, nearest or lanczos, antialiased as in Pillow.
        mean: a number, or one per channel in the tensor's order, for pixels from 0 to 255; by
            default 0.
        std: likewise; by default 255, and 1 for an input of uint8.
        order: of the channels: rgb or bgr, and grey for one channel.
        pad: what lies around the picture, as values of the tensor; by default 0.
        pad_pixel: instead, as pixels from 0 to 255.
        layout: nchw or nhwc; by default as the input's shape says.
        values: further inputs of the model: numbers, and names of numbers of the picture, such as
            ``{scale_factor: [scale_y, scale_x]}``.
        scaled_decoding: whether large pictures are decoded at a part of their size, which is
            faster; false takes every pixel of the file.
    """

    input: str | None = None
    resize: str = "letterbox"
    align: str = "corner"
    shortest: int | None = None
    crop_pct: float | None = None
    multiple: int | None = None
    interpolation: str = "bilinear"
    mean: Any = None
    std: Any = None
    order: str | None = None
    pad: Any = None
    pad_pixel: Any = None
    layout: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    scaled_decoding: bool = True


@dataclass
class PostRecipe:
    """The post-processing for a chain that ends at the points ``border``.

    Attributes:
        border: by default wherever the chain ends.
        id: of a registered step, such as ``classify``.
        target: instead, code of one's own as ``module:callable``; its id is ``module.callable``.
        inputs: which outputs of the chain the step gets, in its order; by default all.
        params: of the step.
    """

    border: list[str] = field(default_factory=list)
    id: str = ""
    target: str | None = None
    inputs: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)


@dataclass
class TextRecipe:
    """What makes the inputs of a text: the id of a registered text front end, its parameters."""

    id: str
    params: dict[str, Any] = field(default_factory=dict)


MODEL_DTYPES = ("float16", "bfloat16", "float32", "float64")


@dataclass
class FileRecipe:
    """An ONNX file that is one segment of several.

    Attributes:
        file: the path.
        inputs: the name in the chain of inputs, by their names in the file; by default the same.
        outputs: likewise of outputs.
    """

    file: str
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass
class ModelRecipe:
    """A model: its code or its file, weights, inputs, and pre- and post-processing.

    Attributes:
        name: of the model in manifests and reports.
        target: ``package.module:callable`` that returns a ``torch.nn.Module``.
        file: instead of a target, an ONNX file. Its inputs are needed only to fix sizes that the
            file leaves open.
        files: instead of a target, several ONNX files, each a segment under its name here. Tensors
            of one name are the same tensor.
        reference: for a file, the backend that runs the whole model as the reference.
        inputs: by their names.
        params: keyword arguments of the target. A mapping with its own ``target`` is replaced by
            the result of calling that with its ``params``.
        state: what the model keeps between calls. A list of its buffers, each of which becomes an
            input and an output of the chain; or ``{INPUT: OUTPUT}`` of inputs and outputs that
            it has already. Pipelines carry them from one call to the next.
        seed: of the random numbers while the target is called, so that a model without weights
            is the same in every run.
        weights: a file or an ``https`` address; nothing where the target loads its weights itself.
        sha256: the SHA-256 of the weights, complete or its first digits; checked after a download.
        dtype: a float dtype to which the model is cast once its weights are loaded, such as float32
            for weights that were saved in bfloat16.
        readers: suffix of a weights file to ``package.module:callable`` that reads it.
        dynamic: name of a dynamic size to ``[min, opt, max]``, or to ``{min, opt, max, multiple}``
            for sizes that are multiples. The names are used in the shapes of the inputs; a
            ``batch`` that no shape uses is axis 0 of every input.
        marks: marks on modules by path, for code without marks.
        rewrites: Python modules with rewrites for the export.
        classes: names of the labels. One text that ends in ``.txt`` is a file with a name in each
            line. Of a model of text they are its characters or
            the vocabulary of its tokens.
        pre: how a picture becomes an input, for models of pictures.
        text: how a text becomes the inputs, for models of text.
        post: post-processing for each place where the chain may end.
        samples: real inputs for verification: a folder of pictures, of ``.npz`` files that hold a
            value of each input by its name, or of both; or one such file.
        eval: a COCO annotation file beside its pictures.
    """

    name: str
    target: str | None = None
    file: str | None = None
    files: dict[str, FileRecipe] = field(default_factory=dict)
    reference: BackendRecipe | None = None
    inputs: dict[str, InputRecipe] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    state: Any = None
    seed: int = 0
    weights: str | None = None
    sha256: str | None = None
    dtype: str | None = None
    readers: dict[str, str] = field(default_factory=dict)
    dynamic: dict[str, Any] = field(default_factory=dict)
    marks: dict[str, MarkRecipe] = field(default_factory=dict)
    rewrites: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    pre: PreRecipe | None = None
    text: TextRecipe | None = None
    post: list[PostRecipe] = field(default_factory=list)
    samples: str | None = None
    eval: str | None = None

    @property
    def is_onnx(self) -> bool:
        """Whether the model is ONNX files, and no code."""
        return self.file is not None or bool(self.files)


@dataclass
class SegmentRecipe:
    """A segment between two sets of cut points.

    Attributes:
        name: of the segment.
        start: the points where it begins.
        end: the points where it ends.
        outputs: a name for each output.
        dynamic: ``{tensor: {axis: [min, opt, max]}}`` for sizes that are dynamic in this segment
            only, such as the number of boxes that a host step selects.
    """

    name: str
    start: list[str]
    end: list[str]
    outputs: list[str] | None = None
    dynamic: dict[str, dict[int, Any]] = field(default_factory=dict)


@dataclass
class HostTensorRecipe:
    """An output of a host step.

    Attributes:
        shape: sizes, and names of the step's ``dynamic`` for dynamic sizes; by default shape and
            dtype are those of the input of the segment that consumes it.
        dtype: NumPy's name of the data type.
        at: the point in the model that has the reference value, if there is one.
    """

    shape: list[Any] | None = None
    dtype: str = "float32"
    at: str | None = None


@dataclass
class HostRecipe:
    """A host step between segments.

    Attributes:
        name: of the step.
        id: of its registered code.
        inputs: tensors of the chain: inputs of the model, outputs of segments and host steps.
        outputs: by their names; segments consume them by these names.
        params: keyword arguments of its code.
        dynamic: name of a dynamic size in the shapes to ``[min, opt, max]``.
        calls: segments that the step itself runs, any number of times.
    """

    name: str
    id: str
    inputs: list[str] = field(default_factory=list)
    outputs: dict[str, HostTensorRecipe] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    dynamic: dict[str, Any] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)


@dataclass
class AutoPartitionRecipe:
    """How segments are divided between the engines of ``partition.prefer``.

    Attributes:
        min_nodes: a region of an engine with fewer nodes is given to a neighbour.
        max_segments: of each segment; 0 sets no limit.
        min_macs_per_byte: a region with fewer multiply-adds for each byte over its borders is given
            to a neighbour.
        tries: the most conversions of a search for the nodes that make a segment fail.
        measure: whether borders that do not pay on this machine are dropped.
        reference: the backend that computes tensors at the borders, of which PyTorch has no value.
    """

    min_nodes: int = 4
    max_segments: int = 24
    min_macs_per_byte: float = 1.0
    tries: int = 60
    measure: bool = False
    reference: BackendRecipe | None = None


@dataclass
class PartitionRecipe:
    """How the model is cut; without segments and cuts the whole model is one segment.

    Attributes:
        segments: each segment; the host does the rest of the model.
        cuts: instead of segments, where to cut the whole model: for each boundary a mark, a point,
            or a list of them. The segments are ``part0``, ``part1`` and so on.
        host: the host steps between segments.
        auto: how each segment is divided further; None where it is not.
        prefer: the engines that it is divided between, the preferred first.
    """

    segments: list[SegmentRecipe] = field(default_factory=list)
    cuts: list[Any] = field(default_factory=list)
    host: list[HostRecipe] = field(default_factory=list)
    auto: AutoPartitionRecipe | None = None
    prefer: list[BackendRecipe] = field(default_factory=list)

    @property
    def across(self) -> list[list[str]]:
        """The points of each boundary of ``cuts``."""
        return [[points] if isinstance(points, str) else list(points) for points in self.cuts]


class RecipeError(DeployError):
    """A recipe that is invalid or cannot be carried out."""


@dataclass
class PrecisionRecipe:
    """The backend that measures in fp32 which values half precision cannot represent."""

    measure: BackendRecipe | None = None


@dataclass
class ConvertRecipe:
    """Limits of a conversion.

    Attributes:
        timeout: seconds until the converter's process is ended.
        memory_gib: memory that the process may allocate; 0 is all of the machine's.
        file_gib: largest file that the process may write.
        check: whether an artifact whose outputs differ from the reference ends the run. Without it
            the bundle is written, fails its verification, and can be debugged.
    """

    timeout: float = 900.0
    memory_gib: float = 0.0
    file_gib: float = 16.0
    check: bool = True


@dataclass
class VerifyRecipe:
    """Verification of the bundle.

    Attributes:
        images: how many pictures are compared.
        min_matched: the share of confident detections that must match, from 0 to 1.
        eval: whether to evaluate the chain and the reference on the model's data set.
        tolerance: in the place of the tolerances of the precisions: ``{max_rel: 0.01}`` and
            ``{cosine: 0.999}`` for all tensors, ``{TENSOR: {max_rel: 0.01}}`` for one.
    """

    images: int = 4
    min_matched: float = MIN_MATCHED
    tolerance: dict[str, Any] = field(default_factory=dict)
    eval: bool = False


@dataclass
class BundleRecipe:
    """Where the bundle is written and how it is signed.

    Attributes:
        folder: by default ``bundles/<model>-<backend>``.
        sign: the file of an Ed25519 private key; by default the bundle is not signed.
    """

    folder: str | None = None
    sign: str | None = None


@dataclass
class BenchRecipe:
    """The latency benchmark.

    Attributes:
        runs: how many calls of a job's bundle are measured; 0 leaves the latency out.
        rounds: in a sweep, in how many rounds all bundles are measured in turns at its end; with 0
            each job measures its own, when it happens to run. On a device, in how many rounds the
            engines of the bundle are.
        seconds: how long each bundle, or choice of engines, is measured in all rounds together.
    """

    runs: int = 20
    rounds: int = 9
    seconds: float = 3.0


CACHE_OFF, CACHE_AUTO = "off", "auto"


ALL = "*"


@dataclass
class AlternativeRecipe:
    """A further backend for a segment, or for all segments without one of their own (``*``)."""

    segment: str
    backend: BackendRecipe


@dataclass
class Recipe:
    """One deployment: a model, its partition, a backend for each segment, and the bundle.

    Attributes:
        model: what is deployed.
        backend: of every segment that ``chain`` does not name.
        bundle: where the result is written.
        partition: how the model is cut.
        chain: segment to its backend.
        also: further backends of the segments, from lists of backends and precisions. Their
            engines are alternatives in the bundle, from which the device may choose.
        precision: how the cast to half precision is measured.
        convert: limits of each conversion.
        verify: what is verified.
        bench: the latency benchmark.
        device: where the bundle is measured, beside what the desk measures.
        cache: a folder that keeps exports and conversions; ``auto`` for one in the user's cache
            folder; ``off`` for none.
        cache_gib: largest size of that folder in GiB.
    """

    model: ModelRecipe
    backend: BackendRecipe
    bundle: BundleRecipe = field(default_factory=BundleRecipe)
    partition: PartitionRecipe = field(default_factory=PartitionRecipe)
    chain: dict[str, BackendRecipe] = field(default_factory=dict)
    also: list[AlternativeRecipe] = field(default_factory=list)
    precision: PrecisionRecipe = field(default_factory=PrecisionRecipe)
    convert: ConvertRecipe = field(default_factory=ConvertRecipe)
    verify: VerifyRecipe = field(default_factory=VerifyRecipe)
    bench: BenchRecipe = field(default_factory=BenchRecipe)
    device: list[DeviceRecipe] = field(default_factory=list)
    cache: str = CACHE_AUTO
    cache_gib: float = 10.0

    def backend_of(self, segment: str) -> BackendRecipe:
        """The first backend of a segment: its own, or the one for all."""
        return self.chain.get(segment, self.backend)

    def backends_of(self, segment: str) -> list[BackendRecipe]:
        """All backends of a segment; the first is ``backend_of``."""
        key = segment if segment in self.chain else ALL
        return [self.backend_of(segment), *self._alternatives(key)]

    def with_alternative(self, rank: int) -> Recipe:
        """The recipe with the alternative of this rank, from 1 up, as the backend of each segment.

        Segments without an alternative of this rank keep their backend.
        """
        alternatives = {
            key: backends[rank - 1]
            for key in (ALL, *self.chain)
            if len(backends := self._alternatives(key)) >= rank
        }
        backend = alternatives.pop(ALL, self.backend)
        return replace(self, backend=backend, chain={**self.chain, **alternatives}, also=[])

    def _alternatives(self, key: str) -> list[BackendRecipe]:
        return [alternative.backend for alternative in self.also if alternative.segment == key]

    @property
    def backends(self) -> list[BackendRecipe]:
        """Every backend that the recipe names."""
        alternatives = [alternative.backend for alternative in self.also]
        return [self.backend, *self.chain.values(), *alternatives, *self.partition.prefer]
