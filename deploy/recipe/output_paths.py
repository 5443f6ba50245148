"""Where a run writes: the bundle, and the work folder with the stages' files beside it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class WorkFile(StrEnum):
    """The files and folders of a work folder, by the stage that writes them.

    A member is its name: ``work / WorkFile.SEGMENTS``.
    """

    EXPORT = "export"
    """Folder: the exported model."""
    SEGMENTS = "segments"
    """Folder: the ONNX file of each segment, in fp32."""
    PLACEMENT = "placement"
    """Folder: what the automatic partition tried."""
    REFERENCE = "reference"
    """Folder: what the reference needs to run."""
    CAST = "cast"
    """Folder: the segments that were cast to half precision."""
    ARTIFACTS = "artifacts"
    """Folder: per segment, its artifact, its sample and the log of its conversion."""
    ALTERNATIVES = "also"
    """Folder: ``1``, ``2`` and so on, each with the casts and artifacts of further backends."""
    BUILD_RECORD = "made.json"
    """The recipe and the points of the chain's tensors."""
    STAGING = "bundle"
    """Folder: the bundle until it is complete."""
    PREVIOUS_BUNDLE = "bundle.old"
    """Folder: an earlier bundle while it is being replaced."""
    REPORT_PAGE = "report.html"
    REPORT_DATA = "report.json"
    BLAME_PARTS = "blame"
    """Folder: the parts of a segment that accuracy debugging converted."""
    BLAME_METRICS = "blame.json"
    """What accuracy debugging measured."""


@dataclass(frozen=True)
class RunPaths:
    """The folders of a run.

    Attributes:
        bundle: the folder of the finished bundle.
        work: the folder of the stages' files, which are named by ``WorkFile``.
    """

    bundle: Path
    work: Path


def work_folder(bundle: Path) -> Path:
    """The work folder of a bundle: ``<bundle>.work`` beside it."""
    return bundle.with_name(f"{bundle.name}.work")
