"""Folders of the cache of stages that somebody else has had in their hands."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from backends.files import name_fault
from deploy.export.fingerprint import CacheKey
from tests.fuzzing.draw import Draw
from tests.fuzzing.octets import mutated
from tests.fuzzing.paths import CANARY, MIRROR, bad_path
from tests.fuzzing.texts import dumped, mutated_json
from tests.fuzzing.trees import Node, Seed, Tree

CACHE, PLAN, ENTRY = "cache", "plan.json", "entry.json"
SECRET, OTHER_SECRET = b"m" * 32, b"t" * 32  # of this user, and of somebody else
_CONTENTS: Mapping[str, Mapping[str, bytes]] = {
    "export": {"exported.onnx": b"onnx" * 300, "exported.json": b'{"onnx": "exported.onnx"}'},
    "convert": {
        "model.bin": b"weights" * 100,
        "deep/er/model.txt": b"text",
        "artifact.json": b"{}",
    },
    "tiny": {"empty": b""},
}
KEYS = {name: CacheKey(name, f"{name} of x", {"x": name, "n": 1}) for name in _CONTENTS}
_ACTIONS = ("take", "take", "put", "list", "damage", "prune", "prune all", "cli list", "cli verify")
_ACTIONS += ("cli prune",)


def contents(name: str) -> Mapping[str, bytes]:
    """The files of a key, as this user's own run wrote them."""
    return _CONTENTS[name]


def plain_cache(secret: bytes) -> Tree:
    """A cache with an entry for each key, sealed with a secret, and what is to be done with it."""
    tree: Tree = {PLAN: Node(_plan(["list", "take", "put", "damage"], {}))}
    for name, key in KEYS.items():
        files = {file: _content(data) for file, data in _CONTENTS[name].items()}
        record = {"stage": key.stage, "subject": key.subject, "parts": key.parts, "files": files}
        place = _place(key.digest)
        tree[f"{place}/{ENTRY}"] = Node(dumped(_sealed(record, secret)))
        tree |= {f"{place}/files/{file}": Node(data) for file, data in _CONTENTS[name].items()}
    return tree


def mutated_cache(draw: Draw, tree: Tree, seed: Seed) -> list[str]:
    """Change a cache, and draw what is done with it; returns what was changed."""
    changes, modes = [], {}
    for _ in range(draw.few(3)):
        change = draw.one(_CHANGES)
        entries = sorted(path for path in tree if path.endswith(f"/{ENTRY}"))
        if entries or change in (_stray, _folder):
            changes.append(change(draw, tree, draw.one(entries) if entries else "", seed.name))
    if draw.maybe(0.08):
        path = draw.one([CACHE, f"{CACHE}/entries", *sorted(tree)])
        modes[path] = draw.one([0o777, 0o1777, 0o000, 0o770, 0o644])
        changes.append(f"mode of {path}")
    for path in [path for path in tree if _is_below_another_file(path, tree)]:
        del tree[path]
    actions = [draw.one(_ACTIONS) for _ in range(draw.number(2, 5))]
    tree[PLAN] = Node(_plan(actions, modes))
    return changes


def _is_below_another_file(path: str, tree: Tree) -> bool:
    """Whether it cannot exist, as after several changes."""
    parts = path.split("/")
    parents = ("/".join(parts[:count]) for count in range(1, len(parts)))
    return any(parent in tree and tree[parent].sort != "folder" for parent in parents)


def _plan(actions: list[str], modes: Mapping[str, int]) -> bytes:
    return json.dumps({"actions": actions, "modes": modes}).encode()


def _place(digest: str) -> str:
    return f"{CACHE}/entries/{digest[:2]}/{digest}"


def _content(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _sealed(record: dict[str, Any], secret: bytes) -> dict[str, Any]:
    """As the store seals; written again here, so that a change of it shows."""
    key = CacheKey(record["stage"], record["subject"], record["parts"])
    text = json.dumps([key.digest, key.subject, record["files"]], sort_keys=True)
    return {**record, "seal": hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()}


def _text(draw: Draw, tree: Tree, entry: str, seed: str) -> str:
    """The description is another text, with the old seal or with one of another secret."""
    tree[entry] = Node(mutated_json(draw, tree[entry].data))
    return "description"


def _names(draw: Draw, tree: Tree, entry: str, seed: str) -> str:
    """A file has a name that leads away, and there is a file at its end."""
    record = _record(tree, entry)
    if record is None or not record["files"]:
        return "nothing"
    old = draw.one(sorted(record["files"]))
    new = bad_path(draw, old)
    record["files"][new] = record["files"].pop(old)
    secret = SECRET if draw.maybe(0.3) else OTHER_SECRET
    tree[entry] = Node(dumped(_sealed(record, secret)))
    return f"name {new[:40]!r} sealed by {'the user' if secret == SECRET else 'somebody else'}"


def _other_files(draw: Draw, tree: Tree, entry: str, seed: str) -> str:
    """An entry that is whole in itself with other files, sealed by somebody else or not again."""
    record = _record(tree, entry)
    if record is None:
        return "nothing"
    data = draw.one([b"planted", b"", b"x" * 100_000])
    name = draw.one([*sorted(record["files"]), "planted.bin"])
    record["files"][name] = _content(data)
    if not name_fault(name):  # it may be one that leads away, from an earlier change
        tree[f"{entry.removesuffix(ENTRY)}files/{name}"] = Node(data)
    if draw.maybe(0.7):
        record = _sealed(record, OTHER_SECRET)
    tree[entry] = Node(dumped(record))
    return f"another {name}"


def _key(draw: Draw, tree: Tree, entry: str, seed: str) -> str:
    """The entry lies under the key of another one."""
    others = [key.digest for key in KEYS.values()] + [
        "0" * 64,
        "..",
        "a" * 300,
        "\u202e" + "0" * 63,
    ]
    digest = draw.one(others)
    source = entry.removesuffix(f"/{ENTRY}")
    target = f"{CACHE}/entries/{draw.one([digest[:2], source.split('/')[2]])}/{digest}"
    folders = {target.rsplit("/", depth)[0] for depth in (1, 2)}
    if ".." in target or len(digest) > 255 or source == target or folders & tree.keys():
        return "nothing"
    for path in [path for path in tree if path.startswith(f"{target}/") or path == target]:
        del tree[path]
    moved = {path: node for path, node in tree.items() if path.startswith(f"{source}/")}
    tree.update(
        {f"{target}/{path.removeprefix(f'{source}/')}": node for path, node in moved.items()}
    )
    if draw.maybe(0.6):
        for path in moved:
            tree.pop(path, None)
    return "under another key"


def _swap(draw: Draw, tree: Tree, entry: str, seed: str) -> str:
    """Two files change places, or the bytes of one change."""
    files = [path for path in tree if "/files/" in path and tree[path].sort == "file"]
    if not files:
        return "nothing"
    one, two = draw.one(files), draw.one(files)
    if one == two:
        tree[one] = Node(mutated(draw, tree[one].data, []))
        return "bytes of a file"
    tree[one], tree[two] = tree[two], tree[one]
    return "swapped files"


def _odd(draw: Draw, tree: Tree, entry: str, seed: str) -> str:
    """Something else at the place of a file."""
    path = draw.one([entry, *[path for path in sorted(tree) if path.startswith(f"{CACHE}/")]])
    if tree[path].sort != "file":
        return "nothing"
    canary = f"{draw.outside}/{CANARY}".encode()
    mirrored = f"{draw.outside}/{MIRROR}/{seed}/{path}".encode()
    node = draw.one(
        [Node(sort="fifo"), Node(sort="folder"), Node(canary, "link"), Node(mirrored, "link"),
         Node(b"/dev/zero", "link"), Node(path[-4:].encode(), "link")]
    )  # fmt: skip
    tree[path] = node
    return f"{node.sort} at {path[-20:]}"


def _folder(draw: Draw, tree: Tree, entry: str, seed: str) -> str:
    """A folder leads outside, where the same files are, or where anything may be written."""
    folders = ["entries", "locks", "aside"]
    if entry:
        parts = entry.split("/")
        folders += ["/".join(parts[1:3]), "/".join(parts[1:4]), "/".join([*parts[1:4], "files"])]
    path = f"{CACHE}/{draw.one(folders)}"
    for name in [name for name in tree if name == path or name.startswith(f"{path}/")]:
        del tree[name]
    target = draw.one(
        [f"{draw.outside}/{MIRROR}/{seed}/{path}", str(draw.outside), "..", "missing"]
    )
    tree[path] = draw.one(
        [Node(target.encode(), "link")] * 5 + [Node(b"a file"), Node(sort="fifo")]
    )
    return f"{tree[path].sort} as {path[-20:]}"


def _stray(draw: Draw, tree: Tree, entry: str, seed: str) -> str:
    """What no run leaves: beside entries, among what is half-written, among the locks."""
    digest = draw.one([key.digest for key in KEYS.values()])
    name = draw.one(
        [
            f"locks/{digest}.lock", f"locks/{digest}.lock", "aside/x", "aside/x/y", "entries/x",
            f"entries/{digest[:2]}/x", "entries/00/y/entry.json", "x", "entries/.x/y/entry.json",
        ]
    )  # fmt: skip
    canary = f"{draw.outside}/{draw.one([CANARY, MIRROR, 'made'])}".encode()
    path = f"{CACHE}/{name}"
    if any(other.startswith(f"{path}/") or path.startswith(f"{other}/") for other in tree):
        return "nothing"
    tree[path] = draw.one(
        [Node(canary, "link")] * 3 + [Node(b"x"), Node(sort="fifo"), Node(sort="folder")]
    )
    return f"{tree[path].sort} {name[:20]}"


def _huge(draw: Draw, tree: Tree, entry: str, seed: str) -> str:
    """A description that takes long to read, or much memory."""
    texts = [b"[" * 200_000, b'{"a": ' + b"9" * 300_000 + b"}", b"[" + b"[]," * 300_000 + b"1]"]
    texts += [b" " * (5 << 20), b'["' + b"x" * (5 << 20) + b'"]']
    tree[entry] = Node(draw.one(texts))
    return "a huge description"


def _record(tree: Tree, entry: str) -> dict[str, Any] | None:
    """A description that this module can change; none where it was changed before."""
    if tree[entry].sort != "file":
        return None
    try:
        record = json.loads(tree[entry].data)
        CacheKey(record["stage"], record["subject"], record["parts"]).digest  # noqa: B018
        return record if isinstance(record["files"], dict) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


_CHANGES = (
    _text,
    _text,
    _names,
    _names,
    _other_files,
    _key,
    _swap,
    _odd,
    _odd,
    _folder,
    _stray,
    _huge,
)
