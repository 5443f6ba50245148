"""``cache``: list, verify and prune the results of earlier runs."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from deploy.pipeline.cache_store import CacheEntry, CacheStore, default_cache_folder
from deploy.report.progress import format_bytes, plain_console

_GIB = 1 << 30


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; exit code 1 where an entry is damaged, 2 for wrong usage."""
    asked = _parser().parse_args(arguments)
    folder = asked.folder.expanduser().absolute()
    if not (folder / "entries").is_dir():
        sys.exit(
            f"error: '{folder}' is no cache: expected a folder that python -m deploy cache=DIR "
            f"made, got {'a folder without entries' if folder.is_dir() else 'nothing'}"
        )
    store = CacheStore(folder, int(getattr(asked, "gib", 0) * _GIB))
    commands = {"list": _list, "verify": _verify, "prune": _prune}
    sys.exit(0 if commands[asked.command](store) else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.cache", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (
        ("list", "show every entry, the one used last first"),
        ("verify", "compare every byte, and remove what is damaged"),
        ("prune", "remove what was not used for the longest time"),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument(
            "folder",
            type=Path,
            metavar="DIR",
            nargs="?",
            default=default_cache_folder(),
            help="as in cache=DIR (default: %(default)s)",
        )
        if name == "prune":
            command.add_argument(
                "--gib", type=_size, default=0.0, help="how much stays (default: nothing)"
            )
    return parser


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
    damaged = [(entry, what) for entry in store.entries() if (what := store.damage(entry))]
    for entry, what in damaged:
        print(f"BAD {entry.digest[:12]} {entry.stage} of {entry.subject}: {what}; removed")
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


def _size(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if not 0 <= size < float("inf"):
        raise argparse.ArgumentTypeError(f"expected GiB from 0 up, got {text}")
    return size


if __name__ == "__main__":
    main()
