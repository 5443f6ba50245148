"""Bundles whose manifest is of the right types, with values that nobody would write."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.fuzzing.draw import Draw
from tests.fuzzing.paths import CANARY, bad_path
from tests.fuzzing.specs import mutated_specs
from tests.fuzzing.texts import dumped
from tests.fuzzing.trees import Node, Seed, Tree

MANIFEST, DOOR = "manifest.json", "door.json"
PORT = 48377  # of the socket that nobody may connect to
_LONGEST = 10_000  # values of a list; a manifest may have 16 MiB
_FULL = 0.1  # of the cases run in a process of their own, the others after a trial in this one
_INTEGERS = (
    0, 1, -1, 2, 3, 7, 255, 256, 65_535, 65_536, 1 << 20, 1 << 31, (1 << 31) - 1, 1 << 32, 1 << 53,
    1 << 62, (1 << 63) - 1, -(1 << 63), 1 << 64, 10**30, -(10**30),
)  # fmt: skip
_FLOATS = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1e-320,
    1e-45,
    1e38,
    -1e38,
    3.5e38,
    1e308,
    -1e308,
    255.0,
    1e-8,
)
_TEXTS = (
    "", "x", "a" * 1_000_000, "\x1b]0;title\x07", "\x1b[31mred", "\u202eabc", "\ud800", "=cmd()",
    "@x",
    "a\nb", "a\0b", "é", "%s%n", "{0}", f"http://127.0.0.1:{PORT}/x", "$(touch made)",
    "'; touch made",
    "[bold]x[/bold]", "[link=file:///etc/passwd]x[/link]", "<script>", "\u2028", "--help", "-",
    "~", "nan",
)  # fmt: skip


def hostile_bundle(draw: Draw, tree: Tree, seed: Seed) -> list[str]:
    """Change values of a manifest, or arrays of the sample; returns which."""
    manifest = json.loads(tree[MANIFEST].data)
    changes = [draw.one(_CHANGES)(draw, manifest, tree) for _ in range(draw.few(3))]
    tree[MANIFEST] = Node(dumped(manifest))
    if draw.maybe(0.1):
        tree[MANIFEST] = Node(mutated_specs(draw, tree[MANIFEST].data, []))
        changes.append("a tensor")
    tree[DOOR] = Node(json.dumps({"full": draw.maybe(_FULL)}).encode())
    return changes


def _alike(draw: Draw, old: Any) -> Any:
    """Another value of the type of the old one."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return draw.one([*_INTEGERS, old + 1, old - 1, old * 2, old * 1000])
    if isinstance(old, float):
        return draw.one([*_FLOATS, old * 2, -old])
    if isinstance(old, str):
        return draw.one([*_TEXTS, f"{old}x", old.upper(), bad_path(draw, old or "x")])
    if isinstance(old, list):
        shorter, longer = old[: len(old) // 2], (old * draw.one([2, 50, 1000]))[:_LONGEST]
        return draw.one([[], shorter, longer, old[::-1], [_alike(draw, item) for item in old]])
    return old


def _pre(draw: Draw, manifest: dict[str, Any], tree: Tree) -> str:
    """How a picture becomes a tensor."""
    if manifest["pre"] is None:
        return "nothing"
    key = draw.one(sorted(manifest["pre"]))
    manifest["pre"][key] = _alike(draw, manifest["pre"][key])
    return f"pre.{key}"


def _post(draw: Draw, manifest: dict[str, Any], tree: Tree) -> str:
    """A parameter of the post-processing, of the type that it takes."""
    if manifest["post"] is None:
        return "nothing"
    params = manifest["post"]["params"]
    defaults = {
        "backbone": "mobilenetv2",
        "num_classes": 1, "score_thr": 0.05, "conf_thr": 0.005, "nms_pre": 1000,
        "iou_thr": 0.45, "max_per_img": 100, "anchors": _anchors(draw),
    }  # fmt: skip
    key = draw.one(sorted(defaults))
    params[key] = (
        defaults[key] if key == "anchors" else _alike(draw, params.get(key, defaults[key]))
    )
    return f"post.{key}"


def _anchors(draw: Draw) -> list[Any]:
    levels, sizes = draw.one([0, 1, 3, 4, 300]), draw.one([0, 1, 3, 4])
    value: Any = draw.one([[10, 10], [10], [], [0.0, 0.0], [1e38, 1e38], [-5, -5], [[10, 10]], 10])
    return [[value] * sizes] * levels


def _host(draw: Draw, manifest: dict[str, Any], tree: Tree) -> str:
    """A parameter of a host step."""
    if not manifest["host"]:
        return "nothing"
    params = draw.one(manifest["host"])["params"]
    key = draw.one([*sorted(params), "first", "last"])
    params[key] = _alike(draw, params.get(key, 1))
    return f"host.{key}"


def _name(draw: Draw, manifest: dict[str, Any], tree: Tree) -> str:
    """A text that reaches a terminal or a page."""
    text = draw.one(_TEXTS)
    place = draw.number(0, 3)
    if place == 0:
        manifest["classes"] = draw.one([[text], [text[:100]] * 5000, [text, "b"], []])
    elif place == 1:
        manifest["model"] = text
    elif place == 2:
        manifest["tools"] = {text or "x": text}
    else:
        manifest["verification"]["notes"] = {text or "x": draw.one(_FLOATS)}
    return ("classes", "model", "tools", "notes")[place]


def _rename(draw: Draw, manifest: dict[str, Any], tree: Tree) -> str:
    """A tensor or a step has another name wherever it is named."""
    names = [spec["name"] for spec in (*manifest["inputs"], *manifest["outputs"])]
    names += [step["name"] for step in manifest["steps"]]
    old, new = draw.one(names), draw.one(_TEXTS)
    text = dumped(manifest).decode("utf-8", "surrogatepass")
    changed = json.loads(text.replace(json.dumps(old), json.dumps(new)))
    manifest.clear()
    manifest.update(changed)
    return f"{old} renamed"


def _option(draw: Draw, manifest: dict[str, Any], tree: Tree) -> str:
    """An option of an engine, or its precision."""
    step = draw.one([*manifest["steps"], *manifest["alternatives"]])
    if draw.maybe(0.2):
        step["precision"] = draw.one(["fp16", "bf16", "int8", "fp32"])
        return "precision"
    if not step["options"]:
        return "nothing"
    key = draw.one(sorted(step["options"]))
    step["options"][key] = _alike(draw, step["options"][key])
    return f"option {key}"


def _file(draw: Draw, manifest: dict[str, Any], tree: Tree) -> str:
    """A file that a step, the sample or the list of files names."""
    old = draw.one(sorted(manifest["files"]))
    new = bad_path(draw, old)
    if draw.maybe(0.5):
        manifest["files"][new] = manifest["files"].pop(old)
    for step in (*manifest["steps"], *manifest["alternatives"]):
        step["files"] = [new if name == old else name for name in step["files"]]
    if manifest["sample"] == old:
        manifest["sample"] = new
    return f"file {'canary' if CANARY in new else repr(new[:20])}"


def _dims(draw: Draw, manifest: dict[str, Any], tree: Tree) -> str:
    """One size of one tensor, wherever the tensor is named."""
    specs = [*manifest["inputs"], *manifest["outputs"]]
    specs = [spec for spec in specs if isinstance(spec["shape"], list) and spec["shape"]]
    if not specs:
        return "nothing"
    spec = draw.one(specs)
    axis = draw.number(0, len(spec["shape"]) - 1)
    sizes = [0, 1, 2, 1000, 1 << 16, 1 << 20, 1 << 30]
    ranged = {
        "name": "n",
        "min": draw.one([0, 1]),
        "opt": draw.one([1, 2, 512]),
        "max": draw.one(sizes[2:]),
    }
    size = draw.one([*sizes, ranged, ranged])
    places = (manifest, *manifest["steps"], *manifest["host"], *manifest["alternatives"])
    for place in places:
        for other in (*place["inputs"], *place["outputs"]):
            if other["name"] == spec["name"] and isinstance(other["shape"], list):
                other["shape"][axis : axis + 1] = [size]
    return f"size of {spec['name']}"


def _extremes(dtype: np.dtype) -> tuple[object, object]:
    """The most extreme values of a dtype."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).max, np.iinfo(dtype).min
    return (True, False) if dtype.kind == "b" else (np.nan, np.inf)


def _sample(draw: Draw, manifest: dict[str, Any], tree: Tree) -> str:
    """The arrays of the sample: another dtype, shape or content, and a hash that fits."""
    name = manifest["sample"]
    if name not in tree:
        return "nothing"
    with np.load(io.BytesIO(tree[name].data)) as stored:
        arrays = dict(stored)
    key = draw.one(sorted(arrays))
    old = arrays[key]
    arrays[key] = draw.one(
        [
            *(np.full_like(old, value) for value in _extremes(old.dtype)),
            old.astype(draw.one(["float16", "float64", "int8", "bool", "complex64", ">f4"])),
            old[None], old.reshape(-1), old[..., :0], np.zeros((1 << 22,), old.dtype),
            np.broadcast_to(old, (3, *old.shape)), np.asfortranarray(old),
        ]
    )  # fmt: skip
    written = io.BytesIO()
    np.savez_compressed(written, **arrays)
    tree[name] = Node(written.getvalue())
    return f"sample {key}"


_CHANGES: tuple[Callable[[Draw, dict[str, Any], Tree], str], ...] = (
    _pre, _post, _post, _host, _name, _rename, _option, _file, _dims, _dims, _sample,
)  # fmt: skip
