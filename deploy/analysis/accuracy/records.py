"""What was measured to find who is to blame, and its file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from backends.codec import FormatError, from_json, to_json
from backends.contract import DeployError
from backends.error_metrics import ErrorMetrics
from backends.files import write_text

FORMAT = 1


class BlameError(DeployError):
    """A bundle, or what was measured of it, that does not tell who is to blame."""


@dataclass(frozen=True)
class ChainEnd:
    """What comes out at the end of a chain.

    Attributes:
        gap: the largest of its outputs; none where they are compared as detections alone.
        matched: confident detections in the sample picture that both models share, counted from
            both sides; none where the bundle finds nothing in pictures.
        total: all of them.
    """

    gap: ErrorMetrics | None
    matched: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class SwapEffects:
    """The end of the chain with the reference's values in the place of a step's own.

    Attributes:
        inputs: with the reference's inputs of the step: what it adds itself is still there.
        outputs: with the reference's outputs of the step: that is gone too.
    """

    inputs: ChainEnd
    outputs: ChainEnd


@dataclass(frozen=True)
class StepBlame:
    """What was measured of a step.

    Attributes:
        name: of the step.
        backend: what runs it; nothing for a host step.
        precision: that it computes in, which chooses its bound.
        own: the gap of each output, fed with the reference's inputs.
        inherited: the same, fed with what the chain really produced.
        swaps: the end of the chain; none for a step that a host step calls.
        calls: the engine steps that it runs itself.
        failure: what it said where it failed.
    """

    name: str
    backend: str
    precision: str
    own: tuple[ErrorMetrics, ...]
    inherited: tuple[ErrorMetrics, ...] = ()
    swaps: SwapEffects | None = None
    calls: tuple[str, ...] = ()
    failure: str = ""


@dataclass(frozen=True)
class Operator:
    """A node of a segment, and what it comes from.

    Attributes:
        name: the node's.
        kind: such as ``Conv``.
        tensors: what it gives.
        module: the path of the module in the PyTorch source; nothing where the file has none.
        module_type: the class of that.
        source: the file and line that called it.
    """

    name: str
    kind: str
    tensors: tuple[str, ...]
    module: str = ""
    module_type: str = ""
    source: str = ""


@dataclass(frozen=True)
class Probe:
    """The first part of a segment, converted up to an operator.

    Attributes:
        operator: its number in the segment's graph.
        tensors: what the part ends with.
        gap: the largest of them; none where it could not be had.
        note: why not, or how the engine failed.
    """

    operator: int
    tensors: tuple[str, ...]
    gap: ErrorMetrics | None
    note: str = ""


@dataclass(frozen=True)
class Bisection:
    """The search within a segment.

    Attributes:
        segment: its name.
        graph: the file that was cut and converted.
        reference: the backend that ran the segment in fp32.
        max_rel: the bound that the search went by.
        cosine: likewise.
        probes: what was converted, in order.
        operator: the first that gives something wrong; none where the error does not show, or is
            not the backend's.
        others: what it needs and could not be had: the error may be theirs.
        alone: the operator with these others, converted on their own and fed with the reference's
            values.
        kept: their file; their sample is beside it.
        repeat: the command that converts and checks it.
        finding: what is to say where there is no operator.
    """

    segment: str
    graph: str
    reference: str
    max_rel: float
    cosine: float
    probes: tuple[Probe, ...] = ()
    operator: Operator | None = None
    others: tuple[Operator, ...] = ()
    alone: Probe | None = None
    kept: str = ""
    repeat: str = ""
    finding: str = ""


@dataclass(frozen=True)
class Blame:
    """Everything that was measured.

    Attributes:
        model: its name.
        manifest: the SHA-256 of the bundle's manifest.
        chain: what comes out at the end as it is.
        steps: in data-flow order, then those that host steps call.
        bisection: the search within a segment, if there was one.
        format: of this description.
    """

    model: str
    manifest: str
    chain: ChainEnd
    steps: tuple[StepBlame, ...]
    bisection: Bisection | None = None
    format: int = FORMAT


def save(path: Path, blame: Blame) -> None:
    """Write what was measured, in the place of an earlier file as a whole."""
    write_text(str(path), json.dumps(to_json(blame), indent=2))


def read(path: Path, manifest: str) -> Blame:
    """What was measured earlier.

    Args:
        path: the file.
        manifest: the SHA-256 of the bundle's manifest now.

    Raises:
        BlameError: there is no such file, or it is of another bundle or another format.
    """
    again = "Run without --saved to measure."
    try:
        blame = from_json(Blame, json.loads(path.read_text()), path.name)
    except FileNotFoundError as error:
        raise BlameError(f"'{path}'", expected="saved metrics", got="nothing", do=again) from error
    except (OSError, ValueError, FormatError) as error:
        raise BlameError(f"'{path}' cannot be read: {error}", do=again) from error
    if blame.format != FORMAT or blame.manifest != manifest:
        raise BlameError(f"'{path}' is of an earlier bundle of this name", do=again)
    return blame
