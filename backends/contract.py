"""What a backend is: the words that the desk, the device and every backend share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


Tensors = Mapping[str, Array]


class DeployError(Exception):
    """The root of every error that a user can cause: what, expected, got, and what to do.

    Examples:
        >>> print(DeployError("threads", expected="int", got="'two'", do="Write a number."))
        threads: expected int, got 'two'. Write a number.
    """

    def __init__(self, what: str, *, expected: str = "", got: str = "", do: str = "") -> None:
        facts = ", ".join(
            f"{word} {text}" for word, text in (("expected", expected), ("got", got)) if text
        )
        sentence = f"{what}: {facts}" if facts else what
        super().__init__(f"{sentence.rstrip('.')}. {do}" if do else sentence)


class OptionError(DeployError):
    """An option that the backend does not have, or a value that it does not take."""


class ConversionError(DeployError):
    """A segment that a converter could not turn into an artifact that agrees with it."""


class EngineError(DeployError):
    """An artifact that does not load, or fails while it runs."""


class MissingLibraryError(DeployError):
    """A library that this step needs is not installed here."""


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


@dataclass(frozen=True)
class Dynamic:
    """A dimension that may vary between calls, with the sizes to expect.

    Examples:
        >>> batch = Dynamic("batch", min=1, opt=4, max=16)
        >>> str(TensorSpec("image", "float32", (batch, 3, 320, 320)))
        'float32[1..16, 3, 320, 320]'
    """

    name: str
    min: int
    opt: int
    max: int


Dim = int | Dynamic


@dataclass(frozen=True)
class TensorSpec:
    """A tensor's name, NumPy dtype name (such as ``float32``) and shape.

    The shape is None where not even the number of dimensions is known before the tensor is there.

    Examples:
        >>> spec = TensorSpec("image", "float32", (Dynamic("batch", 1, 4, 16), 3, 320, 320))
        >>> spec.typical
        (4, 3, 320, 320)
        >>> spec.accepts((1, 3, 320, 320)), spec.accepts((32, 3, 320, 320))
        (True, False)
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...] | None

    @property
    def dims(self) -> tuple[Dim, ...]:
        """The dimensions that are known; none where the rank is not."""
        return self.shape or ()

    @property
    def typical(self) -> tuple[int, ...]:
        """The shape with every dynamic dimension at its ``opt`` size.

        Raises:
            TensorError: the rank is not known.
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
            if not (dim.min <= size <= dim.max if isinstance(dim, Dynamic) else size == dim):
                return False
        return True

    def __str__(self) -> str:
        """Such as ``float32[1..16, 3, 320, 320]``, or ``float32[...]`` without a known rank."""
        if self.shape is None:
            return f"{self.dtype}[...]"
        dims = (f"{d.min}..{d.max}" if isinstance(d, Dynamic) else str(d) for d in self.shape)
        return f"{self.dtype}[{', '.join(dims)}]"


Specs = tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Segment:
    """A part of the model between two borders, as an ONNX file of its own.

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
    """A segment as a backend runs it: files relative to a root folder, and how to load them.

    Attributes:
        name: the segment's.
        backend: whose it is.
        files: what the backend loads; none as long as the device has not built them.
        inputs: as the segment's.
        outputs: as the segment's.
        precision: that it computes in, which chooses the tolerance.
        options: of the backend.
        tools: what made the files, and of which version.
        source: the segment as an ONNX file and the weights beside it, where it is carried so that
            the device can build the files.

    Examples:
        >>> x, y = TensorSpec("x", "float32", (1, 2)), TensorSpec("y", "float32", (1, 2))
        >>> Artifact("double", "my_backend", ("double/model.bin",), (x,), (y,)).pending
        False
        >>> Artifact("double", "my_backend", (), (x,), (y,), source=("double.onnx",)).pending
        True
    """

    name: str
    backend: str
    files: tuple[str, ...]
    inputs: Specs
    outputs: Specs
    precision: str = "fp32"
    options: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    source: tuple[str, ...] = ()

    @property
    def pending(self) -> bool:
        """Whether the device has still to build it."""
        return not self.files


def any_machine(options: Any) -> Mapping[str, str]:
    """What decides the files of a backend that makes the same ones everywhere.

    Examples:
        >>> any_machine(options=None)
        {}
    """
    return {}


def nothing_missing() -> str:
    """The obstacle of a backend that its libraries are enough for.

    Examples:
        >>> nothing_missing()
        ''
    """
    return ""


@dataclass(frozen=True)
class OnGpu:
    """How a backend is put on an NVIDIA GPU.

    Attributes:
        variants: its options for that by a name for people; what is common first.
        obstacle: why that cannot be on this machine, or nothing.

    Examples:
        >>> OnGpu(variants={"CUDA": {"device": "cuda"}}, obstacle=nothing_missing).variants["CUDA"]
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
        obstacle: why this machine can neither convert nor run for it, such as a missing driver,
            or nothing. Quick, and imports no engine.
        builds_on_device: whether its files should be built where they run.
        precisions: the options that give a precision beside fp32, where the engine reaches it by
            itself, and then there are no others. By default it takes graphs that are cast.
        gpu: how it is put on a GPU, if it can be.
        machine: what of this machine decides the files that it makes, such as a GPU, by the
            backend's options. Nothing, as a rule.

    Examples:
        >>> about = About("an engine", extra="my_engine", convert=("onnx",), run=("my-engine",))
        >>> about.builds_on_device, about.obstacle()
        (False, '')
    """

    summary: str
    extra: str
    convert: tuple[str, ...]
    run: tuple[str, ...]
    obstacle: Callable[[], str] = nothing_missing
    builds_on_device: bool = False
    precisions: Mapping[str, Mapping[str, bool | int | float | str]] | None = None
    gpu: OnGpu | None = None
    machine: Callable[[Any], Mapping[str, str]] = any_machine


class Runner(Protocol):
    """A loaded artifact; holds its engine from enter to exit.

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
            EngineError: the engine failed; the runner stays usable.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


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
            ConversionError: the converter failed, or left nothing usable.
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
        """Load the artifact whose files lie under ``root``.

        Raises:
            EngineError: the files do not load.
        """
        ...


def files_of(artifact: Artifact, root: Path, counts: Collection[int]) -> list[Path]:
    """The artifact's files, of which there must be one of these numbers.

    Raises:
        EngineError: there are more or fewer.

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
    if len(inputs) != len(specs):
        raise _other_names(specs, inputs)
    arrays = []
    for spec in specs:
        array = inputs.get(spec.name)
        if array is None:
            raise _other_names(specs, inputs)
        if array.shape != spec.shape or array.dtype != spec.dtype:  # as a rule it is no call
            check_tensor(spec, array.dtype, array.shape)
        arrays.append(np.asarray(array, order="C"))  # ascontiguousarray makes a scalar a row
    return arrays


def select_tensors(specs: Specs, values: Tensors) -> dict[str, Array]:
    """The values of these tensors, each in the dtype of its spec.

    Examples:
        >>> values = {"x": np.ones(2, np.float64), "unused": np.zeros(1)}
        >>> select_tensors((TensorSpec("x", "float32", (2,)),), values)
        {'x': array([1., 1.], dtype=float32)}
    """
    return {spec.name: values[spec.name].astype(spec.dtype, copy=False) for spec in specs}


def check_tensor(spec: TensorSpec, dtype: object, shape: tuple[int, ...]) -> None:
    """Refuse a tensor that is not as its spec.

    Raises:
        TensorError: another dtype or shape.

    Examples:
        >>> check_tensor(TensorSpec("x", "float32", (2,)), np.dtype("float64"), (2,))
        Traceback (most recent call last):
        backends.contract.TensorError: input 'x': expected float32[2], got float64[2]
    """
    if dtype != spec.dtype or not spec.accepts(shape):
        raise TensorError(f"input '{spec.name}'", expected=str(spec), got=f"{dtype}{list(shape)}")


def _other_names(specs: Specs, inputs: Tensors) -> TensorError:
    names = ", ".join(spec.name for spec in specs)
    return TensorError("inputs", expected=names, got=", ".join(inputs) or "none")
