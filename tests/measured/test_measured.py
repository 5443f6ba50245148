"""The pages of docs/benchmarks say what was measured; figures older than their code are marked."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.measured.blocks import INDEX, names_of, numbers_of, parts_of
from tests.measured.cli import main, marked_pages
from tests.measured.tables import FOLDER, RECORDS, TABLES, read_pages, read_records, read_tables

ROOT = Path(__file__).parents[2]
TOML = """\
[pages]
"speed.md" = "how fast it is"

[tables.speed]
page = "benchmarks/speed.md"
commands = [".venv/bin/python measure.py"]
minutes = 0.1
sources = ["engine", "units.py"]

[tables.size]
page = "benchmarks/speed.md"
commands = [".venv/bin/python measure.py", ".venv/bin/python measure.py"]
minutes = 2
sources = ["units.py"]
"""
PAGE = """\
# Speed

<!-- measured: speed -->
<!-- end -->

Prose between them.

<!-- measured: size 1 -->
<!-- end -->
<!-- measured: size 2 -->
<!-- end -->

The end.
"""
PRINTED = "| what | ms |\\n|---|---|\\n| call | {} |"


@pytest.fixture
def tree(tmp_path) -> Path:
    """A small checkout with one page, whose two measurements were never made."""
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / TABLES).write_text(TOML)
    (tmp_path / RECORDS).write_text("{}")
    (tmp_path / FOLDER / "speed.md").write_text(PAGE)
    (tmp_path / INDEX).write_text("# Benchmarks\n\n<!-- index -->\n<!-- end -->\n")
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "run.py").write_text("run\n")
    (tmp_path / "units.py").write_text("ms\n")
    (tmp_path / "measure.py").write_text(f"print('progress')\nprint('{PRINTED.format(5)}')\n")
    return tmp_path


def page_of(tree: Path) -> str:
    return (tree / FOLDER / "speed.md").read_text()


def index_of(tree: Path) -> str:
    return (tree / INDEX).read_text().splitlines()[-3]


def test_a_measurement_replaces_its_block_and_nothing_else(tree):
    assert main(["speed"], tree) == 0
    text = page_of(tree)
    assert "| call | 5 |" in text and "progress" not in text
    assert "    .venv/bin/python measure.py\n\nMeasured on 20" in text
    assert "Older than the code" not in text
    assert "\nProse between them.\n" in text and text.endswith("\nThe end.\n")
    assert "\n> Not measured yet.\n" in text  # size
    assert index_of(tree).endswith("| 1 of 2 not measured, 1 of 2 of this code |")


def test_without_names_everything_is_measured_and_the_minutes_are_told_first(tree, capsys):
    assert main([], tree) == 0
    told = capsys.readouterr().out
    assert told.startswith("to measure: speed, size; about 2.1 minutes in all\nspeed ... about 0.1")
    assert page_of(tree).count("| call | 5 |") == 3
    assert index_of(tree).startswith("| [Speed](speed.md) | how fast it is | 20")
    assert index_of(tree).endswith("| of this code |")


def test_a_command_that_fails_keeps_the_old_figures_and_those_of_the_others(tree, capsys):
    main([], tree)
    before = page_of(tree)
    (tree / "measure.py").write_text(f"print('{PRINTED.format(7)}')\nraise SystemExit('no')\n")
    assert main([], tree) == 1
    out = capsys.readouterr().out
    assert "measure.py' ended with 1; see runs/pages/speed.txt and .log" in out
    assert "FAILED speed: its figures are the old ones" in out and "FAILED size" in out
    assert page_of(tree) == before
    assert (tree / "runs" / "pages" / "speed.log").read_text() == "no\n"


def test_figures_are_marked_when_their_code_changes_until_they_are_measured_again(tree):
    main([], tree)
    (tree / "engine" / "run.py").write_text("run faster\n")
    assert main(["--mark"], tree) == 0
    mark = "**Older than the code**: measured before changes in `engine`.\n\n| what | ms |"
    assert page_of(tree).count("Older than") == 1 and mark in page_of(tree)
    assert index_of(tree).endswith("| 1 of 2 of this code, 1 of 2 older than the code |")
    main(["speed"], tree)
    assert "Older than" not in page_of(tree)


def test_code_that_comes_back_takes_the_mark_away(tree):
    main([], tree)
    before = page_of(tree)
    (tree / "units.py").write_text("us\n")
    main(["--mark"], tree)
    assert page_of(tree).count("measured before changes in `units.py`") == 3
    (tree / "units.py").write_text("ms\n")
    main(["--mark"], tree)
    assert page_of(tree) == before


def test_a_record_that_does_not_know_its_code_is_marked(tree):
    main([], tree)
    records = json.loads((tree / RECORDS).read_text())
    records["size"]["sources"] = {}
    (tree / RECORDS).write_text(json.dumps(records))
    main(["--mark"], tree)
    mark = "**Older than the code**: the version that was measured is not recorded.\n"
    assert mark in page_of(tree)


def test_an_output_with_more_parts_than_the_page_has_places_changes_nothing(tree, capsys):
    (tree / "measure.py").write_text(f"print('{PRINTED.format(7)}\\n\\n> a note')\n")
    assert main(["size"], tree) == 1
    assert "error: 'size' printed 4 parts" in capsys.readouterr().out
    assert "| call |" not in page_of(tree)


def test_a_package_that_is_not_installed_is_named_before_anything_runs(tree, capsys):
    (tree / TABLES).write_text(
        TOML.replace('"units.py"]\n\n', '"units.py"]\npackages = ["no-such"]\n')
    )
    assert main(["size", "speed"], tree) == 1
    told = capsys.readouterr().out
    error = "error: 'speed' needs what is not installed: run  pip install no-such\n"
    assert told.count(error) == 2 and told.index(error) < told.index("size ...")


def test_a_source_that_matches_nothing_is_an_error_before_anything_runs(tree):
    (tree / "units.py").unlink()
    with pytest.raises(SystemExit, match=r"the source 'units.py' matches no file; correct it"):
        main(["speed"], tree)
    assert not (tree / "runs").exists()


def test_an_unknown_name_is_an_error_that_names_near_ones(tree):
    with pytest.raises(SystemExit, match="no measurement is called 'sped'; there is speed"):
        main(["sped"], tree)


def test_those_within_some_minutes_are_measured_alone_and_the_shortest_first(tree, capsys):
    assert main(["--within", "1"], tree) == 0
    assert capsys.readouterr().out.startswith("to measure: speed; about 0.1 minutes")
    (tree / TABLES).write_text(TOML.replace("minutes = 0.1", "minutes = 5"))
    assert main([], tree) == 0
    assert capsys.readouterr().out.startswith("to measure: size, speed; about 7 minutes")


def test_the_list_tells_minutes_and_state(tree, capsys):
    main(["--list"], tree)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "page", "minutes", "measured", "on", "state"]
    assert lines[1].split() == ["speed", "benchmarks/speed.md", "0.1", "not", "measured"]


def test_parts_are_runs_of_tables_lists_and_notes():
    assert parts_of("a\n| b |\n| c |\n\n- d\n> e\nload 1\n") == ["| b |\n| c |", "- d\n> e"]


def test_every_page_of_the_benchmarks_is_measured_and_in_the_index():
    pages = {page.name for page in (ROOT / FOLDER).glob("*.md")} - {INDEX.name}
    assert set(read_pages(ROOT)) == pages
    without = {page for page in pages if not names_of((ROOT / FOLDER / page).read_text())}
    assert not without, f"no  <!-- measured: NAME -->  in {without}; {TABLES} says what there is"


def test_every_measurement_has_a_place_and_every_place_a_measurement():
    tables = read_tables(ROOT)
    lying = {name for page in marked_pages(ROOT) for name in names_of(page.read_text())}
    assert lying == set(tables)
    assert set(read_records(ROOT)) <= set(tables)
    for name, table in tables.items():
        numbers = numbers_of((ROOT / "docs" / table.page).read_text(), name)
        assert numbers in ([0], list(range(1, len(numbers) + 1))), name


@pytest.mark.parametrize("name", read_tables(ROOT))
def test_the_programs_of_a_measurement_exist(name):
    for command in read_tables(ROOT)[name].commands:
        programs = [word for word in shlex.split(command) if word.startswith("scripts/")]
        assert programs, command
        assert all((ROOT / program).is_file() for program in programs), command


def test_figures_that_are_older_than_the_code_are_marked():
    """A test of its own kind: whoever changes the code that figures speak of marks them."""
    wrong = [
        str(page.relative_to(ROOT))
        for page, text in marked_pages(ROOT).items()
        if text != page.read_text()
    ]
    assert not wrong, f"run  .venv/bin/python scripts/bench pages --mark  which corrects {wrong}"
