"""The generated blocks of a page: what was measured, between two comments that no reader sees.

<!-- measured: NAME -->      everything that the entry's commands print
<!-- measured: NAME 2 -->    the second of its parts
<!-- index -->               the table of all pages
<!-- end -->
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from tests.measured.tables import FOLDER, Record, Table, read_pages

INDEX = FOLDER / "index.md"
UNMEASURED = "> Not measured yet."
_OLD = "**Older than the code**"
_TAKEN = ("|", "- ", "> ")  # how the lines begin that a page takes of an output
_BLOCK = re.compile(
    r"^<!-- (?:measured: ([\w-]+)(?: (\d+))?|(index)) -->\n(.*?)^<!-- end -->\n",
    re.MULTILINE | re.DOTALL,
)

Tables = Mapping[str, Table]
Records = Mapping[str, Record]
Fill = Callable[[str, int, str], str]  # name, number of the part or 0, body; the new content


def parts_of(output: str) -> list[str]:
    """The runs of lines of an output that are tables or notes."""
    runs = groupby(output.splitlines(), key=lambda line: line.startswith(_TAKEN))
    return ["\n".join(lines) for taken, lines in runs if taken]


def numbers_of(text: str, name: str) -> list[int]:
    """The numbers of the parts that a page has of an entry; 0 is all of them."""
    return [int(block[2] or 0) for block in _BLOCK.finditer(text) if block[1] == name]


def names_of(text: str) -> set[str]:
    """The entries of which a page has a block."""
    return {block[1] for block in _BLOCK.finditer(text) if block[1]}


def with_parts(text: str, name: str, parts: Sequence[str]) -> str:
    """A page with the parts of a new output in the place of the old ones.

    Raises:
        SystemExit: the page has no place for some part, or a place for none.
    """
    numbers, expected = numbers_of(text, name), list(range(1, len(parts) + 1))
    if not parts or numbers not in ([0], expected):
        places = "one for all" if numbers == [0] else f"{len(numbers)}"
        raise SystemExit(
            f"error: '{name}' printed {len(parts)} parts (tables, lists or notes), and its page "
            f"has places for {places}; write  <!-- measured: {name} N -->  for each part"
        )
    everything = "\n\n".join(parts)
    return _filled(
        text,
        lambda block, number, body: (
            body if block != name else parts[number - 1] if number else everything
        ),
    )


def marked(
    text: str, root: Path, tables: Mapping[str, Table], records: Mapping[str, Record]
) -> str:
    """A page with what is told about each measurement, and with the marks of the old ones."""

    def told(name: str, number: int, body: str) -> str:
        if not name:
            return index_table(root, tables, records)
        return _told(tables[name], number, body, records.get(name, Record()), root)

    return _filled(text, told)


def _filled(text: str, content: Fill) -> str:
    def block(found: re.Match[str]) -> str:
        beginning = found[0].partition("\n")[0]
        new = content(found[1] or "", int(found[2] or 0), _body(found[4]))
        return f"{beginning}\n\n{new}\n\n<!-- end -->\n"

    return _BLOCK.sub(block, text)


def _body(content: str) -> str:
    """What a block has of an output: everything from its first line on."""
    lines = content.strip().splitlines()
    first = next((n for n, line in enumerate(lines) if line.startswith(_TAKEN)), len(lines))
    return "\n".join(lines[first:])


def _told(table: Table, number: int, body: str, record: Record, root: Path) -> str:
    """A block: commands and record where it is the first one, the mark, and the figures."""
    head = [] if number > 1 else ["\n".join(f"    {one}" for one in table.commands)]
    if not record.date:
        return "\n\n".join([*head, UNMEASURED])
    if number <= 1:
        commit = f" (commit {record.commit})" if record.commit else ""
        head.append(f"Measured on {record.date}{commit}: {record.machine}; {record.versions}.")
    return "\n\n".join([*head, *mark(table, record, root), body])


def mark(table: Table, record: Record, root: Path) -> list[str]:
    """A line for a measurement that is older than the code it speaks of; none for another."""
    changed = table.changed(root, record)
    if not changed:
        return []
    if not record.sources:
        return [f"{_OLD}: the version that was measured is not recorded."]
    return [f"{_OLD}: measured before changes in {', '.join(f'`{one}`' for one in changed)}."]


def state(table: Table, record: Record, root: Path) -> str:
    """A measurement in a word."""
    if not record.date:
        return "not measured"
    return "older than the code" if table.changed(root, record) else "of this code"


def index_table(root: Path, tables: Tables, records: Records) -> str:
    """All pages: what they measure, when that was, and whether it is of this code."""
    rows = ["| page | measures | measured on | state |", "|---|---|---|---|"]
    for page, measures in read_pages(root).items():
        of_page = [table for table in tables.values() if table.page == f"{FOLDER.name}/{page}"]
        found = [records.get(table.name, Record()) for table in of_page]
        days = sorted({record.date for record in found if record.date})
        states = [state(*pair, root) for pair in zip(of_page, found, strict=True)]
        title = (root / FOLDER / page).read_text().partition("\n")[0].removeprefix("# ")
        told = " to ".join(dict.fromkeys((days[0], days[-1]))) if days else ""
        rows.append(f"| [{title}]({page}) | {measures} | {told} | {_told_states(states)} |")
    return "\n".join(rows)


def _told_states(states: Sequence[str]) -> str:
    kinds = sorted({*states})
    if len(kinds) == 1:
        return kinds[0]
    return ", ".join(f"{states.count(kind)} of {len(states)} {kind}" for kind in kinds)
