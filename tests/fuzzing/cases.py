"""The numbered case of a kind: a seed, a few changes, and hashes that fit again."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.fuzzing.arrays import mutated_npz
from tests.fuzzing.bundle_values import hostile_bundle
from tests.fuzzing.cache_entries import mutated_cache
from tests.fuzzing.configurations import mutated_configuration
from tests.fuzzing.draw import Draw
from tests.fuzzing.members import mutated_archive
from tests.fuzzing.octets import mutated
from tests.fuzzing.params import mutated_param
from tests.fuzzing.paths import CANARY, LINK, PIPE, TWIN, odd_node
from tests.fuzzing.pickles import mutated_weights
from tests.fuzzing.pictures import mutated_picture
from tests.fuzzing.protos import mutated_model
from tests.fuzzing.specs import mutated_specs
from tests.fuzzing.texts import dumped, mutated_json
from tests.fuzzing.trees import Node, Seed, Tree
from tests.fuzzing.worker import Given

MANIFEST = "manifest.json"
_PLAIN = 0.01  # of the cases change nothing: a seed has to be accepted

Mutator = Callable[[Draw, bytes, list[bytes]], bytes]


def case(kind: str, seed: int, number: int, seeds: Sequence[Seed], outside: Path) -> Given:
    """The same kind, seed and number give the same case, up to where ``outside`` is."""
    draw = Draw(random.Random(f"{kind} {seed} {number}"), seeds, outside)
    chosen = draw.one(seeds)
    tree = dict(chosen.tree)
    if draw.maybe(_PLAIN):
        return Given(tree, chosen.entry, (chosen.name, "nothing"))
    changes = (
        _BUNDLES[kind](draw, tree, chosen)
        if kind in _BUNDLES
        else _single(draw, tree, chosen, kind)
    )
    return Given(tree, chosen.entry, (chosen.name, *changes))


def _single(draw: Draw, tree: Tree, seed: Seed, kind: str) -> list[str]:
    """One file is all there is."""
    others = [one.tree[one.entry].data for one in draw.seeds if one is not seed]
    mutate = _SINGLES[kind]
    tree[seed.entry] = Node(mutate(draw, tree[seed.entry].data, others))
    return [mutate.__name__]


def _onnx(draw: Draw, tree: Tree, seed: Seed) -> list[str]:
    model, *beside = sorted((name for name in tree if name.startswith("net/")), key=len)
    changes = [_contents(draw, tree, model, mutated_model)]
    if beside and draw.maybe(0.3):
        changes.append(_contents(draw, tree, beside[0], mutated))
    _decoys(draw, tree)
    return _sealed(draw, tree, seed, changes, [model, *beside])


def _ncnn(draw: Draw, tree: Tree, seed: Seed) -> list[str]:
    param, weights, axes = (_ending(tree, end) for end in (".param", ".bin", "axes.json"))
    changes = []
    if draw.maybe(0.85):
        changes.append(_contents(draw, tree, param, mutated_param))
    if draw.maybe(0.15):
        changes.append(_contents(draw, tree, weights, mutated))
    if draw.maybe(0.2):  # enough of them for whatever the layers now ask for
        tree[weights] = Node(tree[weights].data + bytes(draw.one([4, 64, 4096, 1 << 18])))
    if draw.maybe(0.05) or not changes:
        changes.append(_contents(draw, tree, axes, _json))
    return _sealed(draw, tree, seed, changes, [param, weights, axes])


def _manifest(draw: Draw, tree: Tree, seed: Seed) -> list[str]:
    changes = []
    if draw.maybe(0.3):
        name = draw.one(sorted(name for name in tree if name != MANIFEST))
        changes.append(_contents(draw, tree, name, _mutator(name)))
        rehash(tree)
    if draw.maybe(0.2):
        changes.append(_contents(draw, tree, MANIFEST, mutated_specs))
    elif draw.maybe(0.8) or not changes:
        changes.append(_contents(draw, tree, MANIFEST, _json))
    if draw.maybe(0.15):
        name = draw.one(sorted(tree))
        changes.append(f"{odd_node(draw, tree, name, seed.name)} at {name}")
    _decoys(draw, tree)
    return changes


def _sealed(draw: Draw, tree: Tree, seed: Seed, changes: list[str], names: list[str]) -> list[str]:
    """The hashes fit again, as a rule; and something may not be the file that it was."""
    if draw.maybe(0.97):
        rehash(tree)
    if draw.maybe(0.15):
        changes.append(_contents(draw, tree, MANIFEST, mutated_specs))
    if draw.maybe(0.04):
        name = draw.one(names)
        changes.append(f"{odd_node(draw, tree, name, seed.name)} at {name}")
    return changes


def _decoys(draw: Draw, tree: Tree) -> None:
    """What no file of a bundle names, unless a mutant does."""
    if draw.maybe(0.3) and "net" not in tree:
        canary = f"{draw.outside}/{CANARY}".encode()
        tree[f"net/{PIPE}"] = Node(sort="fifo")
        tree[f"net/{LINK}"] = Node(canary, "link")
        tree[f"net/{TWIN}"] = Node(canary, "twin")


def _contents(draw: Draw, tree: Tree, name: str, mutate: Mutator) -> str:
    others = [one.tree[name].data for one in draw.seeds if name in one.tree]
    tree[name] = Node(mutate(draw, tree[name].data, others))
    return name


def _json(draw: Draw, data: bytes, others: list[bytes]) -> bytes:
    return mutated_json(draw, data)


def _ending(tree: Tree, end: str) -> str:
    return next(name for name in tree if name.endswith(end))


def _mutator(name: str) -> Mutator:
    known: Mapping[str, Mutator] = {
        ".npz": mutated_npz,
        ".png": mutated_picture,
        ".json": _json,
        ".onnx": mutated_model,
        ".param": mutated_param,
    }
    return next((mutate for end, mutate in known.items() if name.endswith(end)), mutated)


def rehash(tree: Tree) -> None:
    """Make the manifest's hashes and sizes those of the files, so that they stop nobody."""
    manifest = json.loads(tree[MANIFEST].data)
    for name, entry in manifest["files"].items():
        if name in tree:
            entry |= _entry(tree[name].data)
    tree[MANIFEST] = Node(dumped(manifest))


def fits(tree: Tree) -> bool:
    """Whether there is a manifest, and ``rehash`` would not change a hash in it."""
    try:
        files = json.loads(tree[MANIFEST].data)["files"].items()
        return all(
            entry | _entry(tree[name].data) == entry for name, entry in files if name in tree
        )
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return False


def _entry(data: bytes) -> dict[str, str | int]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


_BUNDLES: Mapping[str, Callable[[Draw, Tree, Seed], list[str]]] = {
    "onnx": _onnx,
    "ncnn": _ncnn,
    "manifest": _manifest,
    "bundle-run": hostile_bundle,
    "cache": mutated_cache,
    "configuration": lambda draw, tree, seed: mutated_configuration(draw, tree),
}
_SINGLES: Mapping[str, Mutator] = {
    "archive": mutated_archive,
    "image": mutated_picture,
    "weights": mutated_weights,
}
