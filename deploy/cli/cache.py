"""``cache``: list, verify and prune the results of earlier runs."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from deploy.pipeline.cache_store import (
    CacheEntry,
    CacheStore,
    check_own_cache,
    default_cache_folder,
)
from deploy.recipe.schema import RecipeError
from deploy.report.console import plain_console
from deploy.report.progress import format_bytes

_GIB = 1 << 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    parser.description = "List, verify and prune the results of earlier runs."
    parser.epilog = "example: %(prog)s prune --gib 2"
    actions = parser.add_subparsers(
        dest="action",
        required=True,
        metavar="ACTION",
        help="what to do; ACTION --help explains its arguments",
    )
    for name, text in (
        ("list", "show every entry, the one used last first"),
        ("verify", "compare every byte, and remove what is damaged"),
        ("prune", "remove what was not used for the longest time"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument(
            "folder",
            type=Path,
            metavar="DIR",
            nargs="?",
            default=default_cache_folder(),
            help="as in cache=DIR (default: %(default)s)",
        )
        if name == "prune":
            action.add_argument(
                "--gib",
                type=_gibibytes,
                default=0.0,
                metavar="GIB",
                help="how much stays (default: nothing)",
            )


def run(arguments: argparse.Namespace) -> bool:
    """Carry out the action; False where an entry is damaged.

    Raises:
        RecipeError: the folder is no cache.
    """
    folder = arguments.folder.expanduser().absolute()
    if not (folder / "entries").is_dir():
        raise RecipeError(
            f"'{folder}' is no cache",
            expected="a folder that a run with cache=DIR made",
            got="a folder without entries" if folder.is_dir() else "nothing",
        )
    check_own_cache(folder)
    store = CacheStore(folder, int(getattr(arguments, "gib", 0) * _GIB))
    actions = {"list": _list, "verify": _verify, "prune": _prune}
    return actions[arguments.action](store)


def _list(store: CacheStore) -> bool:
    entries = store.entries()
    table = Table(box=None, pad_edge=False)
    for name in ("entry", "stage", "of", "used"):
        table.add_column(name, overflow="fold")
    table.add_column("size", justify="right")
    for entry in entries:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        table.add_row(entry.digest[:12], entry.stage, entry.subject, used, format_bytes(entry.size))
    console = plain_console()
    console.print(table)
    console.print(_sum(entries), highlight=False)
    return True


def _verify(store: CacheStore) -> bool:
    damaged = [(entry, damage) for entry in store.entries() if (damage := store.damage(entry))]
    for entry, damage in damaged:
        print(f"BAD {entry.digest[:12]} {entry.stage} of {entry.subject}: {damage}; removed")
        store.remove(entry.digest)
    print(f"{len(store.entries())} entries are whole")
    return not damaged


def _prune(store: CacheStore) -> bool:
    gone = store.prune()
    print(f"removed {_sum(gone)}; {_sum(store.entries())} stay")
    return True


def _sum(entries: Sequence[CacheEntry]) -> str:
    size = format_bytes(sum(entry.size for entry in entries))
    return f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}, {size}"


def _gibibytes(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if not 0 <= size < float("inf"):
        raise argparse.ArgumentTypeError(f"expected GiB from 0 up, got {text}")
    return size
