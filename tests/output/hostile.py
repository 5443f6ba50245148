"""Names as no honest file has them, in a bundle and in an ONNX file; and a look at output."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx

from deploy.runtime.bundle.integrity import file_entry
from deploy.runtime.bundle.manifest import MANIFEST
from tests.fuzzing import seed_bundles

HONEST = "Ü猫"
NAME = f"\x1b[31m\x1b]0;owned\x07\x9b2J\x08\r\x7f\u202e\u2066\u200f\u061c\u200b\u2028\ufeff{HONEST}"
# written out, so that it does not depend on what the program thinks is harmless
_ACTS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
_ROOT = Path(__file__).parents[2]


def assert_printable(output: bytes) -> None:
    """Refuse output in which a character would act on a terminal or hide from its reader."""
    found = sorted({f"U+{ord(one):04X}" for one in _ACTS.findall(output.decode("utf-8"))})
    assert not found, f"{found} in {output!r}"


def program_environment(**more: str) -> dict[str, str]:
    """The environment in which a program of this checkout runs."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "", **more}


def program(*words: object, cwd: Path, **more: str) -> subprocess.CompletedProcess[bytes]:
    """``python -m`` with these words, and the bytes that it printed."""
    arguments = (word if isinstance(word, bytes) else str(word) for word in words)
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cwd, env=program_environment(**more), capture_output=True, check=False,
    )  # fmt: skip


def hostile_bundle(folder: Path) -> Path:
    """A detector whose model, classes, tensors and tools have hostile names."""
    seed_bundles.detector(folder)
    _rename_tensors(folder / "maps" / "model.onnx")
    _rename_sample(folder / "sample" / "tensors.npz")

    def change(manifest: dict) -> None:
        manifest |= {"model": NAME, "classes": [NAME], "tools": {NAME: NAME}}
        manifest["post"]["inputs"] = [NAME + name for name in manifest["post"]["inputs"]]
        for spec in (*manifest["outputs"], *manifest["steps"][0]["outputs"]):
            spec["name"] = NAME + spec["name"]

    return rewritten(folder, change)


def rewritten(bundle: Path, change: Callable[[dict], None]) -> Path:
    """The bundle with another manifest, which lists the files as they are."""
    path = bundle / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    for name, entry in manifest["files"].items():
        if (bundle / name).is_file():
            content = file_entry(bundle / name, entry["kind"])
            entry |= {"sha256": content.sha256, "size": content.size}
    path.write_text(json.dumps(manifest))
    return bundle


def hostile_onnx(path: Path) -> Path:
    """An ONNX file whose nodes and tensors have hostile names."""
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Relu", [NAME + "x"], [NAME + "m"], name=NAME)
    last = onnx.helper.make_node("Tanh", [NAME + "m"], [NAME + "y"], name=NAME + "2")
    shape = (onnx.TensorProto.FLOAT, [1, 3, 8, 8])
    graph = onnx.helper.make_graph(
        [node, last], NAME, [value(NAME + "x", *shape)], [value(NAME + "y", *shape)]
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), path)
    return path


def _rename_tensors(path: Path) -> None:
    model = onnx.load(path)
    for value in model.graph.output:
        value.name = NAME + value.name
    for node in model.graph.node:
        node.output[:] = [NAME + name if name in "abc" else name for name in node.output]
    onnx.save(model, path)


def _rename_sample(path: Path) -> None:
    with zipfile.ZipFile(path) as stored:
        members = {name: stored.read(name) for name in stored.namelist()}
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as renamed:
        for name, content in members.items():
            renamed.writestr(name.replace("output/", f"output/{NAME}"), content)
    path.write_bytes(data.getvalue())
