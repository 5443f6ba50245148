"""What accuracy debugging measures, and its file ``blame.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from backends.codec import FormatError, from_json, to_json
from backends.contract import DeployError
from backends.error_metrics import ErrorMetrics
from backends.files import check_regular, write_text

FORMAT = 1


class BlameError(DeployError):
    """A bundle, its work folder or its saved metrics that cannot be debugged."""


@dataclass(frozen=True)
class ChainEnd:
    """The agreement of a chain's outputs with the reference.

    Attributes:
        gap: the largest error of an output; None where their result alone is compared.
        matched: how much of the result for the sample picture both models share; None where the
            bundle has no picture.
        total: all of it; see ``Agreement``.
        noun: what is counted.
    """

    gap: ErrorMetrics | None
    matched: int | None = None
    total: int | None = None
    noun: str = "detections"


@dataclass(frozen=True)
class SwapEffects:
    """The chain's outputs after a swap: with the reference's values in place of a step's tensors.

    Attributes:
        inputs: with the step's inputs swapped: the error that the step adds itself remains.
        outputs: with the step's outputs swapped: that error is removed too.
    """

    inputs: ChainEnd
    outputs: ChainEnd


@dataclass(frozen=True)
class StepBlame:
    """What was measured of a step.

    Attributes:
        name: of the step.
        backend: what runs it; empty for a host step.
        precision: that it computes in, which chooses its tolerance.
        own: the error of each output, with the reference's inputs.
        inherited: the same, with the chain's own inputs.
        swaps: the effect on the chain's outputs; None for a step that a host step calls.
        calls: the engine steps that it runs itself.
        failure: the error message where it failed, else empty.
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
    """A node of a segment, and the PyTorch source that it comes from.

    Attributes:
        name: the node's.
        kind: its operator, such as ``Conv``.
        tensors: its outputs that are used.
        module: the path of the PyTorch module; empty where the file has none.
        module_type: the module's class; empty likewise.
        source: the file and line that called it; empty likewise.
    """

    name: str
    kind: str
    tensors: tuple[str, ...]
    module: str = ""
    module_type: str = ""
    source: str = ""


@dataclass(frozen=True)
class Probe:
    """A subgraph of a segment, from its inputs up to an operator, converted and run.

    Attributes:
        operator: the operator's number in the segment's graph.
        tensors: the outputs of the subgraph.
        gap: the largest error of them; None where the subgraph could not be converted.
        note: why not, or how the engine failed.
    """

    operator: int
    tensors: tuple[str, ...]
    gap: ErrorMetrics | None
    note: str = ""


@dataclass(frozen=True)
class Bisection:
    """The search for the first wrong operator of a segment.

    Attributes:
        segment: its name.
        graph: the file that was cut and converted.
        reference: the backend that ran the segment in fp32.
        max_rel: the tolerance of the search.
        cosine: likewise.
        probes: what was converted, in order.
        operator: the first operator beyond the tolerance; None where the error does not show, or
            is not the backend's.
        others: operators that it needs and that could not be probed: the error may be theirs.
        alone: the operator with these others, converted on their own and run on the reference's
            values.
        kept: the file of that subgraph; its sample is beside it.
        repeat: the command that converts and checks it.
        finding: the result where there is no operator.
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
        chain: the chain's outputs as they are.
        steps: in data-flow order, then those that host steps call.
        bisection: the search within a segment, or None.
        format: of the file.
    """

    model: str
    manifest: str
    chain: ChainEnd
    steps: tuple[StepBlame, ...]
    bisection: Bisection | None = None
    format: int = FORMAT


def save_metrics(path: Path, blame: Blame) -> None:
    """Write ``blame.json``; an earlier file is replaced as a whole."""
    write_text(str(path), json.dumps(to_json(blame), indent=2))


def read_metrics(path: Path, manifest: str) -> Blame:
    """Read what was measured earlier.

    Args:
        path: the file ``blame.json``.
        manifest: the SHA-256 of the bundle's manifest now.

    Raises:
        BlameError: there is no such file, or it belongs to another bundle or format.
    """
    hint = "Run without --saved to measure."
    try:
        check_regular(path)
        blame = from_json(Blame, json.loads(path.read_text()), path.name)
    except FileNotFoundError as error:
        raise BlameError(f"'{path}'", expected="saved metrics", got="nothing", do=hint) from error
    except (OSError, ValueError, FormatError) as error:
        raise BlameError(f"'{path}' cannot be read: {error}", do=hint) from error
    if blame.format != FORMAT or blame.manifest != manifest:
        raise BlameError(f"'{path}' is of an earlier bundle of this name", do=hint)
    return blame
