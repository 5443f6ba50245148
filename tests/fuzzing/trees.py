"""What a stranger hands over: a few files, and what only looks like one."""

from __future__ import annotations

import base64
import os
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

Sort = Literal["file", "folder", "link", "twin", "fifo"]


@dataclass(frozen=True)
class Node:
    """What lies at a path.

    Attributes:
        data: of a file; of a link or a twin (a hard link) the path that it leads to.
        sort: what it is.
    """

    data: bytes = b""
    sort: Sort = "file"


Tree = dict[str, Node]


@dataclass(frozen=True)
class Seed:
    """A sound thing to mutate.

    Attributes:
        name: of the seed.
        entry: the path in its tree that is handed over; empty for the folder itself.
        tree: its files.
    """

    name: str
    entry: str
    tree: Tree


def write(tree: Tree, folder: Path) -> None:
    """Put a tree on the disk, below ``folder`` and nowhere else."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, node in tree.items():
        assert_inside(path)
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_node(target, node)


def _write_node(target: Path, node: Node) -> None:
    if node.sort == "file":
        target.write_bytes(node.data)
    elif node.sort == "folder":
        target.mkdir(exist_ok=True)
    elif node.sort == "link":
        target.symlink_to(os.fsdecode(node.data))
    elif node.sort == "twin":
        target.hardlink_to(os.fsdecode(node.data))
    else:
        os.mkfifo(target)


def read(folder: Path) -> Tree:
    """The plain files below a folder."""
    return {
        path.relative_to(folder).as_posix(): Node(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def assert_inside(path: str) -> None:
    """The harness itself must not be what escapes."""
    parts = PurePosixPath(path).parts
    assert parts and parts[0] != "/" and ".." not in parts, path


def to_json(tree: Tree) -> dict[str, dict[str, str]]:
    """A tree as plain JSON, its bytes compressed."""
    return {
        path: {"sort": node.sort, "data": base64.b85encode(zlib.compress(node.data, 9)).decode()}
        for path, node in tree.items()
    }


def from_json(stored: dict[str, dict[str, str]], old: str, new: str) -> Tree:
    """The tree again; absolute paths into ``old`` lead into ``new``, which is as long."""
    assert len(old) == len(new)
    tree = {}
    for path, node in stored.items():
        data = zlib.decompress(base64.b85decode(node["data"]))
        tree[path] = Node(data.replace(old.encode(), new.encode()), node["sort"])  # type: ignore[arg-type]
    return tree
