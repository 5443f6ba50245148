"""How far a bundle on the device agrees with PyTorch, and with itself on this machine."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from deploy.runtime.results.detections import Detections
from deploy.runtime.results.result import Agreement
from tests.arm64.cases import PICTURES, Case
from tests.arm64.device import Device, desk

RUNTIME = ("-m", "deploy.runtime")


@dataclass(frozen=True)
class Comparison:
    """What was measured of a bundle.

    Attributes:
        name: of the bundle.
        here: the largest relative error of a tensor against PyTorch on this machine; None where
            the check compares no tensors.
        there: likewise on the device.
        reference: how many detections on the device are PyTorch's.
        same: whether pictures give the same detections here and there.
    """

    name: str
    here: float | None
    there: float | None
    reference: str
    same: Agreement


def compare(case: Case, bundle: Path, device: Device, pictures: int) -> Comparison:
    """Check and run a bundle here and there, and tune and measure it there if the case says so.

    Raises:
        RuntimeError: a command failed.
    """
    brought = device.bring(bundle)
    device.trust(brought)
    here = desk(*RUNTIME, "check", bundle, cwd=bundle.parent)
    there = device.output_of(*RUNTIME, "check", brought)
    if case.is_tuned:
        _tune_and_measure(device, brought)
    shown = PICTURES[:pictures]
    run = (*RUNTIME, "run", "--json", "-")
    expected = _detections(desk(*run, bundle, *shown, cwd=bundle.parent))
    actual = _detections(device.output_of(*run, brought, *shown))
    return Comparison(
        name=case.name,
        here=_largest_error(here),
        there=_largest_error(there),
        reference=_matched(there),
        same=Detections.agreement(expected, actual),
    )


def _tune_and_measure(device: Device, bundle: Path) -> None:
    device.output_of(*RUNTIME, "tune", bundle, "--threads", "1", "--rounds", "1")
    device.output_of(*RUNTIME, "check", bundle)
    device.output_of(*RUNTIME, "bench", bundle, "--runs", "1", "--warmup", "1")


def _largest_error(check: str) -> float | None:
    return max(map(float, re.findall(r"max_rel (\S+)  cosine", check)), default=None)


def _matched(check: str) -> str:
    (found,) = re.findall(r"(\d+ of \d+) detections matched", check)
    return str(found)


def _detections(text: str) -> list[Detections]:
    return [Detections.from_json(row["detections"]) for row in json.loads(text)]
