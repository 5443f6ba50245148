"""Configuration folders that somebody else wrote, and the command lines that compose them."""

from __future__ import annotations

import json

from tests.fuzzing.configuration_texts import configuration_text, direct_attack
from tests.fuzzing.draw import Draw
from tests.fuzzing.paths import CANARY, MIRROR
from tests.fuzzing.trees import Node, Tree

FOLDER, OTHER, WORDS = "theirs", "others", "words.json"
_NAMES = (
    "recipe/a.yaml", "recipe/b.yaml", "model/a.yaml", "backend/a.yaml", "partition/a.yaml",
    "hydra/callbacks/c.yaml", "hydra/launcher/c.yaml", "hydra/job_logging/c.yaml",
    "hydra/sweeper/c.yaml",
    "hydra/hydra_logging/c.yaml", "hydra/output/c.yaml", "hydra/env/c.yaml",
    "hydra/job_logging/quiet.yaml",
)  # fmt: skip
_DIRECT = 0.15  # of the folders are nothing but an attack
_SECOND = "recipe/b.yaml"  # what most lists of defaults name
_ODD_NAMES = (
    "deploy.yaml", "hydra/config.yaml", "recipe.yaml", "recipe/a.yml", "recipe/a/b.yaml",
    "model/yolov3.yaml",
    "hydra/launcher/basic.yaml", "hydra/output/default.yaml", "backend/onnxruntime.yaml",
    "Recipe/a.yaml",
    "recipe/__init__.py", "recipe/a.YAML", "code.yaml", "hydra/help/default.yaml",
    "recipe/a.yaml.yaml",
)  # fmt: skip
_WORDS = (
    "+recipe=b", "+recipe=b", "model.name=n", "bench.runs=0", "+x=b", "bundle=b", "cache=off",
    "+partition=a", "backend.options.threads=1", "++verify.images=1", "~chain",
    "+recipe@_global_=b",
    "hydra.verbose=false", "hydra/launcher=c", "+hydra/callbacks=c", "+recipe@model=b",
    "code=deploy",
)  # fmt: skip
_SEARCHES = (
    "hydra.searchpath=['file://../given/{}']", "hydra.searchpath=[../given/{}]",
    "++hydra.searchpath=['file://../given/{}']",
    "hydra.searchpath=[pkg://deploy,'file://../given/{}']",
)  # fmt: skip


def configuration_tree(draw: Draw) -> Tree:
    """The files of a folder ``theirs``, some of which may be links, pipes or folders.

    Two of five folders say nothing that is harmful; in the others every other file is an attack.
    """
    tree: Tree = {}
    if draw.maybe(_DIRECT):
        return {f"{FOLDER}/recipe/a.yaml": Node(direct_attack(draw))}
    share = 0.0 if draw.maybe(0.4) else 0.5
    odd = draw.number(0, 8)  # the number of the file that is written as few people write
    names = [
        "recipe/a.yaml",
        *(name for name in _NAMES[1:] if draw.maybe(0.25 + 0.4 * (name == _SECOND))),
    ]
    names += [draw.one(_ODD_NAMES)] if draw.maybe(0.15) else []
    for number, name in enumerate(names):
        text = configuration_text(draw, draw.maybe(share), number == odd)
        tree[f"{FOLDER}/{name}"] = Node(text)
    if draw.maybe(0.12):
        _link(draw, tree)
    if draw.maybe(0.04):
        name = draw.one(sorted(tree))
        node = draw.one([Node(sort="fifo"), Node(sort="folder"), Node(b"/dev/zero", "link")])
        tree[name] = draw.one(
            [node, Node(b"a: " + b"x" * (2 << 20)), Node(name[-6:].encode(), "link")]
        )
    return tree


def _link(draw: Draw, tree: Tree) -> None:
    """A file or a group of the folder lies elsewhere, and is reached through a link."""
    name = draw.one(sorted(tree))
    group, _, last = name.rpartition("/")
    depth = "../" * name.count("/")
    if draw.maybe(0.5):
        tree[f"linked/{last}"] = tree[name]
        tree[name] = Node(f"{depth}linked/{last}".encode(), "link")
    elif group != FOLDER and draw.maybe(0.7):
        moved = [path for path in tree if path.startswith(f"{group}/")]
        tree.update({f"linked/{path.removeprefix(f'{group}/')}": tree.pop(path) for path in moved})
        tree[group] = Node(f"{'../' * group.count('/')}linked".encode(), "link")
    else:
        tree[name] = Node(f"{draw.outside}/{draw.one([CANARY, MIRROR])}".encode(), "link")


def mutated_configuration(draw: Draw, tree: Tree) -> list[str]:
    """Replace a seed by another folder, or two, with a command line; returns what was done."""
    tree.clear()
    tree.update(configuration_tree(draw))
    words, changes = _command(draw), ["folder"]
    if draw.maybe(0.1):
        more = configuration_tree(draw)
        tree.update(
            {f"{OTHER}/{name.removeprefix(f'{FOLDER}/')}": node for name, node in more.items()
             if name.startswith(f"{FOLDER}/") and node.sort == "file"}
        )  # fmt: skip
        words.append(draw.one(_SEARCHES).replace("{}", OTHER))
        changes.append("two folders")
    elif draw.maybe(0.05):
        tree[f"{FOLDER}-link"] = Node(FOLDER.encode(), "link")
        words = [word.replace(f"given/{FOLDER}", f"given/{FOLDER}-link") for word in words]
        changes.append("a link as the folder")
    tree[WORDS] = Node(json.dumps(words).encode())
    return changes


def _command(draw: Draw) -> list[str]:
    """Words that somebody types who trusts the folder with nothing but values."""
    model = "+model=a" if draw.maybe(0.1) else "+model=yolov3"
    backend = "+backend=a" if draw.maybe(0.05) else "+backend=onnxruntime"
    words = [
        model,
        backend,
        *(draw.one(_WORDS) for _ in range(draw.number(0, 2)) if draw.maybe(0.6)),
    ]
    if not any(word.startswith("+recipe=") for word in words):
        words.append("+recipe=a")
    if draw.maybe(0.12):
        swept = draw.one(["bench.runs=0,1", "+recipe=a,b", "+x=b,c"])
        words = [word for word in words if word.partition("=")[0] != swept.partition("=")[0]]
        words += [swept, draw.one(["-m", "--multirun", "hydra.mode=MULTIRUN"])]
    if draw.maybe(0.15):
        return [*words, draw.one(_SEARCHES).replace("{}", FOLDER)]
    option = draw.one(["--config-dir", "-cd"])
    return (
        [option, f"../given/{FOLDER}", *words]
        if draw.maybe(0.8)
        else [*words, option, f"../given/{FOLDER}"]
    )


def plain_configuration() -> Tree:
    """A folder that is accepted."""
    text = b"# @package _global_\nmodel: {name: x}\nbench: {runs: 0}\n"
    words = [
        "--config-dir",
        f"../given/{FOLDER}",
        "+model=yolov3",
        "+backend=onnxruntime",
        "+recipe=a",
    ]
    return {f"{FOLDER}/recipe/a.yaml": Node(text), WORDS: Node(json.dumps(words).encode())}
