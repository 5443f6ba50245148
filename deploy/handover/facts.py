"""The content of ``handover.json``, as dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from backends.acceptance import Tolerance
from backends.bounds import Name
from backends.contract import Specs
from backends.handover import EngineFacts
from deploy.runtime.bundle.manifest import StateTensor
from deploy.runtime.vision.pre import Pre

FORMAT = 1
"""Of ``handover.json``; a program that reads it refuses another."""


@dataclass(frozen=True)
class FileFacts:
    """A file of the bundle.

    Attributes:
        file: its path in the bundle.
        sha256: of its content.
        size: in bytes.
    """

    file: str
    sha256: str
    size: int


@dataclass(frozen=True)
class StoredArray:
    """An array inside a file, which can be read without the file's own format.

    Attributes:
        name: of the array.
        file: that holds it, a path in the bundle.
        offset: of its first byte in the file.
        size: in bytes.
        dtype: NumPy's name; numbers are little-endian, in C order.
        shape: its sizes.
    """

    name: str
    file: str
    offset: int
    size: int
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class PictureFacts:
    """How a picture becomes an input, and how results come back into the picture.

    Attributes:
        dtype: of the tensor.
        channels: of the tensor, in its order.
        parameters: the numbers.
        steps: what is done, in this order, with all numbers.
        back: from pixels of the tensor to pixels of the picture.
    """

    dtype: str
    channels: tuple[str, ...]
    parameters: Pre
    steps: tuple[str, ...]
    back: tuple[str, ...]


@dataclass(frozen=True)
class CodeFacts:
    """A step that a program has to write itself.

    Attributes:
        id: under which the code is registered here.
        parameters: all of them, also those that have their default.
        constants: further numbers of the formula.
        formula: what is computed, step by step; empty where its author wrote none.
    """

    id: Name
    parameters: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    formula: tuple[str, ...] = ()


@dataclass(frozen=True)
class EngineChoice:
    """One artifact of a step.

    Attributes:
        backend: that converted it.
        precision: of the computation.
        files: that the engine loads.
        engine: how it is loaded and called; None where its backend does not say.
        pending: whether the device has yet to build or verify it, with this project's runtime.
        source: the segment that it is built from.
    """

    backend: Name
    precision: Name
    files: tuple[FileFacts, ...]
    engine: EngineFacts | None = None
    pending: bool = False
    source: tuple[FileFacts, ...] = ()


@dataclass(frozen=True)
class StepFacts:
    """A step of the chain; the steps stand in the order of their calls.

    Attributes:
        name: of the step.
        kind: an engine runs it, or the program's own code.
        inputs: tensors that it takes.
        outputs: tensors that it gives.
        called_by: the host steps that call it, any number of times; it is not called otherwise.
        engines: of a step that an engine runs, the first choice first.
        code: of a host step.
        calls: the steps that a host step calls.
    """

    name: Name
    kind: Literal["engine", "host"]
    inputs: Specs
    outputs: Specs
    called_by: tuple[str, ...] = ()
    engines: tuple[EngineChoice, ...] = ()
    code: CodeFacts | None = None
    calls: tuple[str, ...] = ()


@dataclass(frozen=True)
class PostFacts(CodeFacts):
    """What is done with the outputs of the chain.

    Attributes:
        inputs: the tensors that it takes, in this order.
        result: the kind of its results.
        placing: how a result in pixels of the tensor becomes one of the picture; empty where
            nothing is to be done.
    """

    inputs: tuple[str, ...] = ()
    result: str = ""
    placing: tuple[str, ...] = ()


@dataclass(frozen=True)
class SampleFacts:
    """A sample to test a program with.

    Attributes:
        picture: the file of the picture, if the model takes one. Its tensor is among the arrays.
        arrays: inputs of the chain (``input/NAME``), the reference's outputs (``output/NAME``), and
            the reference's result for the picture (``result/NAME``).
    """

    picture: FileFacts | None
    arrays: tuple[StoredArray, ...]


@dataclass(frozen=True)
class AgreementFacts:
    """When a program's numbers agree with the sample's.

    Attributes:
        tensors: the bounds of each tensor.
        metrics: what they bound.
        results: when results agree.
    """

    tensors: Mapping[str, Tolerance]
    metrics: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True)
class Handover:
    """Everything that a program without this project's runtime needs to run a bundle.

    Attributes:
        model: its name.
        classes: the names of the labels.
        inputs: of the chain.
        outputs: of the chain.
        picture: how a picture becomes the inputs, if the model takes one.
        text: how a text becomes the inputs, if the model takes one.
        state: what is carried: after a call each output is the input of the next call.
        initial_state: the values before the first call.
        steps: in the order of their calls.
        rules: what holds between them.
        post: what is done with the outputs, if the bundle says so.
        sample: to test with.
        agreement: how near is near enough.
        tools: what wrote the bundle, with versions.
        format: of this file.
    """

    model: Name
    classes: tuple[str, ...]
    inputs: Specs
    outputs: Specs
    picture: PictureFacts | None
    text: CodeFacts | None
    state: tuple[StateTensor, ...]
    initial_state: tuple[StoredArray, ...]
    steps: tuple[StepFacts, ...]
    rules: tuple[str, ...]
    post: PostFacts | None
    sample: SampleFacts
    agreement: AgreementFacts
    tools: Mapping[str, str]
    format: int = FORMAT
