"""A wheel in the place of the runtime's: it needs nothing, and does what a file says."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from backends.codec import to_json
from deploy.runtime.device_record import DeviceRecord

# what the file ``do`` in the home of the device holds is run first
_PROGRAM = """\
import json, os, pathlib, sys, time
words = sys.argv[1:]
home = pathlib.Path.home()
(home / "words.json").write_text(json.dumps(words))
do = home / "do"
if do.exists():
    exec(do.read_text())
print("checking", file=sys.stderr)
print({record!r})
"""


def write_stub(folder: Path, record: DeviceRecord, *requires: str, size: int = 0) -> Path:
    """Write the wheel.

    Args:
        folder: for the file.
        record: what the command answers.
        requires: the distributions that it needs.
        size: bytes that it has more where it is installed.
    """
    files = {
        "deploy/large.txt": " " * size,
        "deploy/__init__.py": "",
        "deploy/runtime/__init__.py": "",
        "deploy/runtime/__main__.py": _PROGRAM.format(record=json.dumps(to_json(record))),
    }
    return write_wheel(folder, "backend_chain", files, *requires)


def write_wheel(folder: Path, name: str, files: Mapping[str, str], *requires: str) -> Path:
    """Write a wheel of pure Python.

    Args:
        folder: for the file.
        name: of the distribution.
        files: what is in it.
        requires: the distributions that it needs.
    """
    info = f"{name}-0.0.dist-info"
    needs = "".join(f"Requires-Dist: {name}\n" for name in requires)
    contents = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.0\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    contents[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in (*contents, f"{info}/RECORD"))
    wheel = folder / f"{name}-0.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in contents.items():
            archive.writestr(zipfile.ZipInfo(path), text, zipfile.ZIP_DEFLATED)
    return wheel
