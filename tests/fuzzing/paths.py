"""Paths that lead away, and things at a path that are not what they seem."""

from __future__ import annotations

from pathlib import PurePosixPath

from tests.fuzzing.draw import Draw
from tests.fuzzing.trees import Node, Tree

CANARY = "canary.bin"
PIPE, LINK, TWIN = "pipe", "link", "twin"
MIRROR = "mirror"


def bad_path(draw: Draw, good: str) -> str:
    """A path in the place of ``good``: most of them lead to the canary."""
    canary = f"{draw.outside}/{CANARY}"
    up = "../" * draw.number(1, 6)
    first = good.split("/")[0] or "x"
    return draw.one(
        [
            *[f"{up}{draw.outside.name}/{CANARY}"] * 3,
            f"{first}/../{up}{draw.outside.name}/{CANARY}",
            *[canary] * 3,
            f"/{canary}",
            f"/proc/self/root{canary}",
            f"file://{canary}",
            f"./{good}",
            f"{first}//{good}",
            f"{good}/",
            f"{good}/.",
            f"{good}/../{good.rsplit('/', 1)[-1]}",
            good.replace("/", "\\"),
            f"..\\{draw.outside.name}\\{CANARY}",
            "C:\\canary.bin",
            f"{good}\0",
            f"\0{good}",
            f"{good}\0.png",
            "x" * draw.one([255, 256, 4096, 70_000]),
            "x/" * draw.one([200, 3000]),
            PIPE,
            LINK,
            TWIN,
            "",
            ".",
            "..",
            "/",
            "manifest.json",
            ".manifest.json.part",
            "/dev/zero",
            "/dev/stdin",
            "/proc/self/mem",
            "~/canary.bin",
            "*",
            "\ud800",
            "\n",
            "é\u202e",
        ]
    )


def odd_node(draw: Draw, tree: Tree, path: str, seed: str) -> str:
    """Put something else at a path of the tree, and say what."""
    choices = ["link", "up", "mirror", "loop", "fifo", "folder", "gone", "device", "other"]
    choice = draw.one([*choices, "parent"] if "/" in path else choices)
    canary = f"{draw.outside}/{CANARY}".encode()
    depth = path.count("/") + 2
    mirrored = f"{draw.outside}/{MIRROR}/{seed}/{path}".encode()
    nodes = {
        "link": Node(canary, "link"),
        "up": Node(f"{'../' * depth}{draw.outside.name}/{CANARY}".encode(), "link"),
        "mirror": Node(mirrored, "link"),
        "loop": Node(PurePosixPath(path).name.encode(), "link"),
        "fifo": Node(sort="fifo"),
        "folder": Node(sort="folder"),
        "device": Node(draw.one([b"/dev/zero", b"/dev/stdin", b"/dev/tty"]), "link"),
        "other": Node(draw.one(sorted(tree)).rsplit("/", 1)[-1].encode(), "link"),
    }
    if choice == "parent":
        return _link_parent(draw, tree, path, seed)
    del tree[path]
    if choice != "gone":
        tree[path] = nodes[choice]
    return choice


def _link_parent(draw: Draw, tree: Tree, path: str, seed: str) -> str:
    """The folder itself leads outside, where the very same files are."""
    parent = path.split("/")[0]
    for name in [name for name in tree if name.startswith(f"{parent}/")]:
        del tree[name]
    tree[parent] = Node(f"{draw.outside}/{MIRROR}/{seed}/{parent}".encode(), "link")
    return "parent"
