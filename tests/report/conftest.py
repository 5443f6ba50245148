"""One run of the demo model for all tests of its report, whichever process they are in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests.helpers.commands import QUICK, output_of


@dataclass(frozen=True)
class Run:
    """A run: its bundle, the folder beside it, and what it printed."""

    bundle: Path
    work: Path
    printed: str


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory) -> Run:
    """Three segments in one engine."""
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    cwd, printed = shared / "report", shared / "report" / "printed.txt"
    with FileLock(shared / "report.lock"):
        if not printed.is_file():
            cwd.mkdir(exist_ok=True)
            printed.write_text(
                output_of(
                    "deploy", "+model=yolov3", "+partition=by_stage", "+backend=onnxruntime",
                    QUICK, "verify.images=2", "bundle=bundles/demo", cwd=cwd,
                )
            )  # fmt: skip
    return Run(cwd / "bundles" / "demo", cwd / "bundles" / "demo.work", printed.read_text())
