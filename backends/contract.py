"""The contract of a backend: types, errors and checks that desk, device and backends share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from backends.bounds import Between, Length, Name
from backends.handover import EngineFacts
from backends.support import RefusedNode, Support
from backends.terminal import printable

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]


class DeployError(Exception):
    """The base of all errors that a user can cause: what, expected, got, and what to do.

    Examples:
        >>> print(DeployError("threads", expected="int", got="'two'", do="Write a number."))
        threads: expected int, got 'two'. Write a number.
    """

    def __init__(self, what: str, *, expected: str = "", got: str = "", do: str = "") -> None:
        difference = ", ".join(
            f"{label} {text}" for label, text in (("expected", expected), ("got", got)) if text
        )
        sentence = f"{what}: {difference}" if difference else what
        # also where no program of ours prints it: names in it come from files of others
        super().__init__(printable(f"{sentence.rstrip('.')}. {do}" if do else sentence))


class OptionError(DeployError):
    """An unknown option of a backend, or a value that it does not accept."""


class ConversionError(DeployError):
    """A segment that cannot be converted, or whose artifact does not agree with it.

    Attributes:
        refused: the nodes that are the reason, where the converter knows them.

    Examples:
        >>> det = RefusedNode("head/det", "Det", "it has no kernel", output="volume")
        >>> ConversionError("segment 'head': Det has no kernel", refused=(det,)).refused[0].operator
        'Det'
    """

    def __init__(
        self,
        what: str,
        *,
        expected: str = "",
        got: str = "",
        do: str = "",
        refused: tuple[RefusedNode, ...] = (),
    ) -> None:
        super().__init__(what, expected=expected, got=got, do=do)
        self.refused = refused


class DisagreementError(ConversionError):
    """A segment that is converted, and whose artifact computes other numbers than the segment.

    Attributes:
        tensor: the output with the largest error that is not admitted.

    Examples:
        >>> DisagreementError("segment 'head': wrong at 'maps'", tensor="maps").tensor
        'maps'
    """

    def __init__(
        self, what: str, *, tensor: str, expected: str = "", got: str = "", do: str = ""
    ) -> None:
        super().__init__(what, expected=expected, got=got, do=do)
        self.tensor = tensor


class EngineError(DeployError):
    """An artifact that does not load, or an engine that fails while it runs."""


class MissingLibraryError(DeployError):
    """A library that is needed here and not installed."""


def install_hint(*extras: str) -> str:
    """How to install optional dependencies of this project, for an error's ``do``.

    Examples:
        >>> install_hint("desk", "sign").partition(" (")[0]
        "Run in the repository: pip install '.[desk,sign]'"
    """
    names = ",".join(extras)
    return (
        f"Run in the repository: pip install '.[{names}]' "
        f"(or with a wheel: pip install 'backend_chain-VERSION-py3-none-any.whl[{names}]')"
    )


class TensorError(DeployError):
    """A tensor of the wrong name, dtype or shape."""


UNBOUNDED = 2**31 - 1  # the largest size of a dimension of which no largest size is known


@dataclass(frozen=True)
class Dynamic:
    """A dimension that varies between calls: its smallest, typical and largest size.

    Attributes:
        multiple: what each of its sizes is a multiple of.

    Examples:
        >>> batch = Dynamic("batch", min=1, opt=4, max=16)
        >>> str(TensorSpec("image", "float32", (batch, 3, 320, 320)))
        'float32[1..16, 3, 320, 320]'
        >>> height = Dynamic("height", min=32, opt=320, max=640, multiple=32)
        >>> str(height), height.accepts(352), height.accepts(353)
        ('32..640 by 32', True, False)
        >>> str(Dynamic("boxes", min=0, opt=1, max=UNBOUNDED))
        '0..'
    """

    name: Name
    min: int
    opt: int
    max: int
    multiple: Annotated[int, Between(1, UNBOUNDED)] = 1

    def accepts(self, size: int) -> bool:
        """Whether the dimension may have this size."""
        return self.min <= size <= self.max and size % self.multiple == 0

    def __str__(self) -> str:
        """Such as ``1..16``, ``0..`` without a known largest size, or ``32..640 by 32``."""
        largest = "" if self.max >= UNBOUNDED else self.max
        step = f" by {self.multiple}" if self.multiple > 1 else ""
        return f"{self.min}..{largest}{step}"


Dim = int | Dynamic


@dataclass(frozen=True)
class TensorSpec:
    """A tensor's name, NumPy dtype name (such as ``float32``) and shape.

    The shape is None where the rank is unknown before the tensor is computed.

    Examples:
        >>> spec = TensorSpec("image", "float32", (Dynamic("batch", 1, 4, 16), 3, 320, 320))
        >>> spec.typical
        (4, 3, 320, 320)
        >>> spec.accepts((1, 3, 320, 320)), spec.accepts((32, 3, 320, 320))
        (True, False)
    """

    name: Annotated[str, Length(1, 1_000)]
    dtype: Name
    shape: tuple[Dim, ...] | None

    @property
    def dims(self) -> tuple[Dim, ...]:
        """The dimensions; empty where the rank is unknown."""
        return self.shape or ()

    @property
    def typical(self) -> tuple[int, ...]:
        """The shape with every dynamic dimension at its ``opt`` size.

        Raises:
            TensorError: the rank is unknown.
        """
        if self.shape is None:
            raise TensorError(f"tensor '{self.name}'", expected="a known rank", got=str(self))
        return tuple(d.opt if isinstance(d, Dynamic) else d for d in self.shape)

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape fits."""
        if self.shape is None or shape == self.shape:
            return True
        if len(shape) != len(self.shape):
            return False
        for size, dim in zip(shape, self.shape, strict=True):  # all() would take twice the time
            if not (dim.accepts(size) if isinstance(dim, Dynamic) else size == dim):
                return False
        return True

    def __str__(self) -> str:
        """Such as ``float32[1..16, 3, 320, 320]``, or ``float32[...]`` of unknown rank."""
        if self.shape is None:
            return f"{self.dtype}[...]"
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


Specs = tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Segment:
    """A subgraph of the model between its cuts, as an ONNX file of its own.

    Examples:
        >>> x, y = TensorSpec("x", "float32", (1, 2)), TensorSpec("y", "float32", (1, 2))
        >>> Segment("double", Path("segments/double.onnx"), (x,), (y,)).onnx.name
        'double.onnx'
    """

    name: str
    onnx: Path
    inputs: Specs
    outputs: Specs


@dataclass(frozen=True)
class Artifact:
    """A converted segment: its files, relative to a root folder, and how to load them.

    Attributes:
        name: of the segment.
        backend: that loads it.
        files: that the backend loads; empty until the device has built them.
        inputs: of the segment.
        outputs: of the segment.
        precision: of the computation, which selects the tolerance.
        options: of the backend.
        tools: that made the files, with their versions.
        source: the segment's ONNX file and its weights, if the device is to build the files.
        unverified: whether the machine that made the files could not run them; the device that
            runs them has yet to compare them with the reference.

    Examples:
        >>> x, y = TensorSpec("x", "float32", (1, 2)), TensorSpec("y", "float32", (1, 2))
        >>> Artifact("double", "my_backend", ("double/model.bin",), (x,), (y,)).pending
        False
        >>> Artifact("double", "my_backend", (), (x,), (y,), source=("double.onnx",)).pending
        True
        >>> Artifact("double", "my_backend", ("model.bin",), (x,), (y,), unverified=True).pending
        True
    """

    name: Name
    backend: Name
    files: tuple[str, ...]
    inputs: Specs
    outputs: Specs
    precision: Name = "fp32"
    options: Mapping[Name, bool | int | float | str] = field(default_factory=dict)
    tools: Mapping[Name, Name] = field(default_factory=dict)
    source: tuple[str, ...] = ()
    unverified: bool = False

    @property
    def built(self) -> bool:
        """Whether its files are there."""
        return bool(self.files)

    @property
    def pending(self) -> bool:
        """Whether the device has yet to build or verify it."""
        return self.unverified or not self.built


def _any_machine(options: Any) -> Mapping[str, str]:
    return {}


def no_obstacle() -> str:
    """Of a backend that asks nothing of a machine but its libraries.

    Examples:
        >>> no_obstacle()
        ''
    """
    return ""


def _no_misfit(options: Any) -> str:
    return ""


def _no_devices() -> Sequence[str]:
    return ()


def _takes_all(inputs: Specs, outputs: Specs) -> str:
    return ""


@dataclass(frozen=True)
class GpuSupport:
    """How a backend runs on an NVIDIA GPU.

    Attributes:
        variants: sets of options by a name for people; the common one first.
        obstacle: why this machine cannot do it, or an empty text.

    Examples:
        >>> gpu = GpuSupport({"CUDA": {"device": "cuda"}}, obstacle=lambda: "")
        >>> gpu.variants["CUDA"]
        {'device': 'cuda'}
    """

    variants: Mapping[str, Mapping[str, bool | int | float | str]]
    obstacle: Callable[[], str]


@dataclass(frozen=True)
class About:
    """What a backend is for and what it needs.

    Attributes:
        summary: in a few words.
        extra: the name of its optional dependencies.
        convert: the distributions that its desk half needs.
        run: the distributions that its device half needs.
        obstacle: why this machine cannot run it, such as a missing driver, or an empty text. Fast;
            imports no engine.
        misfit: why this machine cannot run what it converts with some options, though it runs
            others: such as a target that is another GPU. Called where there is no obstacle.
        convert_obstacle: why this machine cannot convert for it, where it can convert what it
            cannot run: such files are verified on the device. None where it must run them too.
        border_obstacle: why it cannot take a segment with these inputs and outputs, whatever the
            segment computes, or an empty text. Fast. It is asked before the export of the inputs
            of the model, without outputs; and of single tensors where a model is cut automatically.
        builds_on_device: whether its files can be built on the device that runs them.
        device_extra: the name of the device's optional dependencies, where they are others.
        precisions: options for each precision other than fp32, if the engine converts precisions
            itself. None if it runs cast graphs.
        functions: whether its converter takes files that define functions of their own. For the
            others they are inlined before.
        gpu: how it runs on a GPU, if it can.
        support: which nodes of a segment the engine takes with these options, by the word of its
            own parser or converter, if that can be asked on this machine; slow, as it starts a
            child process. What is taken may still fail; that is tried.
        machine: the properties of this machine that its files depend on, such as the GPU, given
            the backend's options. Usually none.
        devices: the devices beside the CPU that it can run on here, for people; or a line that
            says why there are none. It may start a child process.
        stand_in: options under which a machine that cannot run what it converts compares it all
            the same, such as on its CPU; the device verifies it once more. None where it is not
            compared.
        other_rounding: options under which the same graph is computed in another order, such as
            without fusions. As a reference, the backend measures with them how certain it is.
        handover: how a program without this project's runtime loads and calls an artifact, whose
            files are relative to a root folder. None where such programs are not foreseen.

    Examples:
        >>> about = About("an engine", extra="my_engine", convert=("onnx",), run=("my-engine",))
        >>> about.builds_on_device, about.obstacle()
        (False, '')
    """

    summary: str
    extra: str
    convert: tuple[str, ...]
    run: tuple[str, ...]
    obstacle: Callable[[], str] = no_obstacle
    misfit: Callable[[Any], str] = _no_misfit
    convert_obstacle: Callable[[], str] | None = None
    border_obstacle: Callable[[Specs, Specs], str] = _takes_all
    builds_on_device: bool = False
    device_extra: str | None = None
    functions: bool = False
    support: Callable[[Segment, Any], Support] | None = None
    precisions: Mapping[str, Mapping[str, bool | int | float | str]] | None = None
    gpu: GpuSupport | None = None
    machine: Callable[[Any], Mapping[str, str]] = _any_machine
    devices: Callable[[], Sequence[str]] = _no_devices
    stand_in: Mapping[str, bool | int | float | str] | None = None
    other_rounding: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    handover: Callable[[Artifact, Path], EngineFacts] | None = None

    def run_obstacle(self, options: Any) -> str:
        """Why this machine cannot run what it converts with these options, or an empty text."""
        return self.obstacle() or self.misfit(options)

    def conversion_obstacle(self) -> str:
        """Why this machine cannot convert for it, or an empty text."""
        return (self.convert_obstacle or self.obstacle)()


class Runner(Protocol):
    """A loaded artifact, and a context manager that releases its engine at exit.

    Examples:
        >>> class Double:
        ...     def __call__(self, inputs: Tensors) -> dict[str, Array]:
        ...         return {"y": inputs["x"] * 2}
        ...     def __enter__(self) -> Self:
        ...         return self
        ...     def __exit__(self, *_: object) -> None: ...
        >>> with Double() as runner:
        ...     runner({"x": np.ones(2, np.float32)})
        {'y': array([2., 2.], dtype=float32)}
    """

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run once.

        Raises:
            TensorError: an input is missing, or of another dtype or shape than its spec.
            EngineError: the engine failed; the runner remains usable.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@runtime_checkable
class NotedRunner(Runner, Protocol):
    """A runner that tells how it runs here, such as which of its layers an accelerator has.

    Attributes:
        note: a line for people; empty where there is nothing to tell.

    Examples:
        >>> class Half:
        ...     note = "3 of 4 layers on the GPU; on the CPU: 1 MatMul"
        ...     def __call__(self, inputs: Tensors) -> dict[str, Array]:
        ...         return {"y": inputs["x"] / 2}
        ...     def __enter__(self) -> Self:
        ...         return self
        ...     def __exit__(self, *_: object) -> None: ...
        >>> isinstance(Half(), NotedRunner)
        True
    """

    note: str


class Convert(Protocol):
    """``convert`` of ``backends/<b>/convert.py``.

    Examples:
        >>> def convert(segment: Segment, options: Any, out: Path) -> Artifact:
        ...     (out / "model.onnx").write_bytes(segment.onnx.read_bytes())
        ...     files = ("model.onnx",)
        ...     return Artifact(segment.name, "my_backend", files, segment.inputs, segment.outputs)
    """

    def __call__(self, segment: Segment, options: Any, out: Path) -> Artifact:
        """Write the artifact's files into the existing folder ``out``.

        Raises:
            ConversionError: the converter failed, or its result is unusable; with all nodes that
                are the reason, where it knows them (``refused``).
        """
        ...


class Load(Protocol):
    """``load`` of ``backends/<b>/run.py``.

    Examples:
        >>> def load(artifact: Artifact, root: Path) -> Runner:
        ...     (model,) = files_of(artifact, root, {1})
        ...     raise EngineError(f"no engine for {model.name}")
    """

    def __call__(self, artifact: Artifact, root: Path) -> Runner:
        """Load an artifact whose files are relative to ``root``.

        Raises:
            EngineError: the files do not load.
        """
        ...


def files_of(artifact: Artifact, root: Path, counts: Collection[int]) -> list[Path]:
    """The paths of the artifact's files.

    Args:
        artifact: the artifact.
        root: the folder that its files are relative to.
        counts: the numbers of files that the backend accepts.

    Raises:
        EngineError: the artifact has another number of files.

    Examples:
        >>> files_of(Artifact("double", "my_backend", ("model.bin",), (), ()), Path("bundle"), {1})
        [PosixPath('bundle/model.bin')]
    """
    if len(artifact.files) not in counts:
        raise EngineError(
            f"files of '{artifact.name}' for {artifact.backend}",
            expected=" or ".join(map(str, counts)),
            got=str(len(artifact.files)),
        )
    return [root / name for name in artifact.files]


def check_inputs(specs: Specs, inputs: Tensors) -> list[Array]:
    """The arrays in the order of their specs, C-contiguous.

    Raises:
        TensorError: an input is missing, unknown, or of another dtype or shape than its spec.

    Examples:
        >>> spec = TensorSpec("x", "float32", (2,))
        >>> check_inputs((spec,), {"x": np.ones(2, np.float32)})
        [array([1., 1.], dtype=float32)]
    """
    if not isinstance(inputs, Mapping) or len(inputs) != len(specs):
        raise _names_differ(specs, inputs)
    arrays = []
    for spec in specs:
        array = inputs.get(spec.name)
        if array is None:
            raise _names_differ(specs, inputs)
        try:
            shape, dtype = array.shape, array.dtype
        except AttributeError as error:
            got = type(array).__name__
            raise TensorError(f"input '{spec.name}'", expected=str(spec), got=got) from error
        if shape != spec.shape or dtype != spec.dtype:  # spares a call, as a rule
            check_tensor(spec, dtype, shape)
        arrays.append(
            np.asarray(array, order="C")
        )  # ascontiguousarray turns a scalar into a vector
    return arrays


def select_tensors(specs: Specs, values: Tensors) -> dict[str, Array]:
    """The values of these tensors, each in the dtype of its spec.

    Raises:
        TensorError: one of them is not there.

    Examples:
        >>> values = {"x": np.ones(2, np.float64), "unused": np.zeros(1)}
        >>> select_tensors((TensorSpec("x", "float32", (2,)),), values)
        {'x': array([1., 1.], dtype=float32)}
    """
    missing = [spec.name for spec in specs if spec.name not in values]
    if missing:
        raise TensorError(
            f"tensor '{missing[0]}'", expected=f"one of {', '.join(values)}"[:300], got="none"
        )
    return {spec.name: values[spec.name].astype(spec.dtype, copy=False) for spec in specs}


def check_tensor(spec: TensorSpec, dtype: object, shape: tuple[int, ...]) -> None:
    """Refuse a tensor that does not match its spec.

    Raises:
        TensorError: it has another dtype or shape.

    Examples:
        >>> check_tensor(TensorSpec("x", "float32", (2,)), np.dtype("float64"), (2,))
        Traceback (most recent call last):
        backends.contract.TensorError: input 'x': expected float32[2], got float64[2]
    """
    if dtype != spec.dtype or not spec.accepts(shape):
        has_fields = isinstance(dtype, np.dtype) and dtype.names is not None
        kind = "records of " if has_fields else dtype  # fields have a caller's names
        got = f"{kind}{list(shape)}"
        raise TensorError(
            f"input '{spec.name}'", expected=str(spec), got=got, do=_multiples(spec, shape)
        )


def _multiples(spec: TensorSpec, shape: tuple[int, ...]) -> str:
    """What to do about the first size that is no multiple of what it must be, if there is one."""
    for axis, (size, dim) in enumerate(zip(shape, spec.dims, strict=False)):
        if isinstance(dim, Dynamic) and size % dim.multiple:
            upper = size - size % dim.multiple + dim.multiple
            sizes = [s for s in (upper - dim.multiple, upper) if dim.accepts(s)] or [dim.opt]
            near = " or ".join(map(str, sizes))
            return f"Axis {axis} is a multiple of {dim.multiple}: resize or pad to {near}."
    return ""


def _names_differ(specs: Specs, inputs: object) -> TensorError:
    """Names that are no tensor's are counted, not quoted: a request may be passed as it came."""
    names = [spec.name for spec in specs]
    if isinstance(inputs, Mapping):
        given = [name for name in names if name in inputs]
        others = len(inputs) - len(given)
        got = ", ".join([*given, f"{others} of other names"] if others else given)
    else:
        got = type(inputs).__name__
    return TensorError("inputs", expected=", ".join(names) or "none", got=got or "none")
