"""Mutators of archives: their members, their headers, and what lies around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.fuzzing.draw import Draw
from tests.fuzzing.octets import mutated
from tests.fuzzing.packing import Entries, Entry, entries_of, packed
from tests.fuzzing.paths import CANARY, bad_path
from tests.fuzzing.texts import mutated_json

_TYPES = [bytes([letter]) for letter in b"0\x001234567SLKxgZDM"]


def mutated_archive(draw: Draw, data: bytes, others: list[bytes]) -> bytes:
    """An archive after some changes of its members, or of its bytes."""
    if draw.maybe(0.25):
        return mutated(draw, data, others)
    entries = entries_of(data)
    for _ in range(draw.few(3)):
        draw.one(MUTATORS)(draw, entries)
    zipped = (data[:2] == b"PK") != draw.maybe(0.05)
    written = packed(draw, entries, zipped)
    return mutated(draw, written, others, 1) if draw.maybe(0.05) else written


def _change(draw: Draw, entries: Entries, **fields: object) -> None:
    if entries:
        index = draw.number(0, len(entries) - 1)
        entries[index] = replace(entries[index], **fields)  # type: ignore[arg-type]


def _name(draw: Draw, entries: Entries) -> None:
    good = draw.one(entries).name if entries else "x"
    _change(draw, entries, name=bad_path(draw, good))


def _more(draw: Draw, entries: Entries) -> None:
    """A member that no bundle has, anywhere."""
    name = bad_path(draw, draw.one(entries).name if entries else "x")
    entries.insert(
        draw.number(0, len(entries)), Entry(name, b"planted", mode=draw.one([0o644, 0o4755, 0]))
    )


def _link(draw: Draw, entries: Entries) -> None:
    """A link to the canary, or to its folder; perhaps with a file that goes through it."""
    target = draw.one(
        [
            f"{draw.outside}/{CANARY}",
            str(draw.outside),
            f"../../{draw.outside.name}",
            "..",
            "manifest.json",
        ]
    )
    name = draw.one([*[entry.name for entry in entries], "way", "net"])
    entries.insert(draw.number(0, len(entries)), Entry(name, b"", draw.one([b"1", b"2"]), target))
    if draw.maybe(0.5):
        entries.append(Entry(f"{name}/{draw.one([CANARY, 'planted.bin'])}", b"planted"))


def _sort(draw: Draw, entries: Entries) -> None:
    _change(draw, entries, sort=draw.one(_TYPES), link=draw.one(["", f"{draw.outside}/{CANARY}"]))


def _size(draw: Draw, entries: Entries) -> None:
    sizes = [0, 1, 511, 513, 1 << 20, 1 << 33, (1 << 63) - 1, 8**11 - 1, 1 << 60]
    _change(draw, entries, size=draw.one(sizes))


def _twice(draw: Draw, entries: Entries) -> None:
    if entries:
        one = draw.one(entries)
        entries.insert(
            draw.number(0, len(entries)), replace(one, data=draw.one([one.data, b"other"]))
        )


def _away(draw: Draw, entries: Entries) -> None:
    if entries:
        del entries[draw.number(0, len(entries) - 1)]


def _bomb(draw: Draw, entries: Entries) -> None:
    _change(draw, entries, data=bytes(draw.one([1 << 20, 1 << 22, 1 << 24])))


def _manifest(draw: Draw, entries: Entries) -> None:
    for index, entry in enumerate(entries):
        if entry.name == "manifest.json":
            entries[index] = replace(entry, data=mutated_json(draw, entry.data, 1))


def _order(draw: Draw, entries: Entries) -> None:
    draw.chance.shuffle(entries)


def _crowd(draw: Draw, entries: Entries) -> None:
    entries.extend(Entry(f"more/{number}", b"") for number in range(draw.one([10, 300, 10_001])))


MUTATORS: tuple[Callable[[Draw, Entries], None], ...] = (
    _name,
    _name,
    _more,
    _more,
    _link,
    _link,
    _sort,
    _size,
    _twice,
    _away,
    _bomb,
    _manifest,
    _manifest,
    _order,
    _crowd,
)
