"""The command line of ``scripts/check-arm64``."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.arm64.cases import CASES, EXTRAS
from tests.arm64.comparison import Comparison, compare
from tests.arm64.device import FOLDER, Device, make_device
from tests.arm64.own_tests import run_tests

_VERSIONS = """
import ncnn, platform
from importlib.metadata import version
names = ("numpy", "pillow", "ncnn", "onnxruntime", "openvino")
print(platform.machine(), "Python", platform.python_version(), "C library", *platform.libc_ver())
print(*(f"{name} {version(name)}" for name in names), sep=", ")
print("arithmetic in half precision:", ncnn.cpu_support_arm_asimdhp() > 0)
"""


def main(description: str, arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 1 if anything failed or differs."""
    options = _parser(description).parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="arm64-") as work:
        device = make_device(options.device, Path(work), EXTRAS)
        print(device.output_of("-c", _VERSIONS), flush=True)
        good = options.part == "tests" or _compare(device, Path(work), options)
        good &= options.part == "bundles" or run_tests(device)
    return int(not good)


def _compare(device: Device, work: Path, options: argparse.Namespace) -> bool:
    folder = work / "bundles"
    folder.mkdir()
    print("| bundle | max_rel here | there | detections of PyTorch | of this machine | within |")
    print("|---|---|---|---|---|---|", flush=True)
    good = True
    for case in CASES:
        if case.name in (options.bundle or [case.name]):
            try:
                found = compare(case, case.make(folder), device, options.pictures)
            except RuntimeError as error:
                print(f"FAILED {case.name}: {error}", flush=True)
                good = False
                continue
            print(_row(found), flush=True)
            good &= found.same.matched == found.same.total > 0
    return good


def _row(found: Comparison) -> str:
    errors = ["" if error is None else f"{error:.1e}" for error in (found.here, found.there)]
    same = f"{found.same.matched} of {found.same.total}"
    within = found.same.text.partition(", ")[2]
    return f"| {' | '.join([found.name, *errors, found.reference, same, within])} |"


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="check-arm64",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [case.name for case in CASES]
    parser.add_argument("--bundle", action="append", choices=names, help="this one alone")
    parser.add_argument("--pictures", type=int, default=3, metavar="N", help="of each bundle (3)")
    parser.add_argument("--part", choices=("bundles", "tests"), help="this part alone")
    parser.add_argument(
        "--device", type=Path, default=FOLDER, metavar="FOLDER", help="of setup-arm64"
    )
    return parser
