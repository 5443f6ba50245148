"""What a bundle is made of, how it was made, and how far it is from PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from backends.contract import Artifact, DeployError, Specs
from backends.gap import Gap
from deploy.runtime.host import HostStep
from deploy.runtime.image import Pre

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
FORMAT = 2

Kind = Literal["engine", "source", "sample", "picture"]


class BundleError(DeployError):
    """A bundle that is missing, damaged, of a newer format, or not one at all."""


@dataclass(frozen=True)
class Content:
    """The SHA-256 (hex) and the size in bytes of a file."""

    sha256: str
    size: int


@dataclass(frozen=True)
class FileEntry(Content):
    """A file of a bundle, and what it is for.

    Attributes:
        kind: ``engine`` is what a backend loads, ``source`` what one is built from, ``sample``
            what the bundle is checked with; ``picture`` is for people.
    """

    kind: Kind


@dataclass(frozen=True)
class PostStep:
    """The host step after the chain: a registered id, the tensors it takes, its parameters."""

    id: str
    inputs: tuple[str, ...]
    params: Mapping[str, Any]


@dataclass(frozen=True)
class StepGap:
    """The gap of one tensor of a step, or of the whole chain (step ``chain``)."""

    step: str
    gap: Gap


@dataclass(frozen=True)
class Verification:
    """What was measured against PyTorch on the desk.

    Attributes:
        status: whether all gaps are within the tolerances of their precisions.
        gaps: of every output of every step, then of the chain.
        notes: further figures: detections matched, mAP of both.
    """

    status: Literal["passed", "failed", "not run"]
    gaps: tuple[StepGap, ...] = ()
    notes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """A bundle's description.

    Attributes:
        model: its name.
        classes: names of the labels.
        inputs: tensors that the chain takes.
        outputs: tensors that the chain gives.
        steps: the artifacts, their files relative to the bundle.
        alternatives: further artifacts for some of the steps, which bear the names of these.
        host: what is done between them on the host.
        pre: how a picture becomes the input, if the model takes one.
        post: the host step after the chain, if there is one.
        sample: the file with sample inputs and PyTorch's outputs.
        files: every file of the bundle but the manifest.
        tools: versions of what made it.
        verification: what was measured.
        format: of this description.
    """

    model: str
    classes: tuple[str, ...]
    inputs: Specs
    outputs: Specs
    steps: tuple[Artifact, ...]
    pre: Pre | None
    post: PostStep | None
    sample: str | None
    files: Mapping[str, FileEntry]
    tools: Mapping[str, str]
    verification: Verification
    host: tuple[HostStep, ...] = ()
    alternatives: tuple[Artifact, ...] = ()
    format: int = FORMAT

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """Everything that a backend loads: of the steps, and their alternatives."""
        return (*self.steps, *self.alternatives)


def called(manifest: Manifest) -> set[str]:
    """The engine steps that host steps run themselves."""
    return {name for host in manifest.host for name in host.calls}
