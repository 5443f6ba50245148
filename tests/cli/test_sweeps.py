"""Sweeps: what was typed reaches every job, and the closing table has a row for each."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import hydra
import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from deploy.cli.catalog import CONFIG
from deploy.cli.code_names import check_code
from deploy.cli.compose import to_recipe
from deploy.cli.override_values import readable_word
from deploy.recipe.schema import Recipe, RecipeError
from deploy.recipe.shipped import conf_folder
from tests.helpers.commands import BACKENDS, Completed, run_here

NETS = """
import sys
from torch import nn
def net(width=2):
    return nn.Sequential(nn.Linear(4, width), nn.ReLU())
def fails(width=2):
    raise LookupError(f"the cut at [m] of [{width}]")
def ends(width=2):
    sys.exit("no weights for [red]you[/red]")
def pictures(width=2):
    return nn.Sequential(nn.Conv2d(3, width, 8, 8), nn.Flatten())
def decode(scores):
    return {"best": int(scores.argmax())}
"""
BASE = ("+model=module", "model.inputs={x: {shape: [1, 4]}}", f"+backend={BACKENDS[0]}")
OFF = ("bench.runs=0", "cache=off", "hydra.sweep.dir=swept")


@pytest.fixture
def nets_folder(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path


def sweep(folder: Path, *words: str, **environment: str) -> Completed:
    return run_here("deploy", "-m", *BASE, *OFF, *words, cwd=folder, **environment)


def rows_of(folder: Path) -> list[dict[str, str]]:
    return json.loads((folder / "swept" / "results.json").read_text())


def jobs(*words: str) -> Iterator[tuple[list[str], DictConfig, Recipe]]:
    """The words, configuration and recipe of each job, as Hydra's own sweeper makes them."""
    parsed = OverridesParser.create().parse_overrides([*BASE, *words])
    (lists,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        for job in lists:
            config = hydra.compose(CONFIG, list(job))
            yield list(job), config, to_recipe(config)


@pytest.mark.parametrize(
    ("word", "targets"),
    [
        ("model.target=nets:net", ["nets:net"]),
        ("model.target=nets:net,other.nets:net", ["nets:net", "other.nets:net"]),
        ("model.target='nets:net'", ["nets:net"]),
        ("model.target='nets:net',\"other:net\"", ["nets:net", "other:net"]),
        (r"model.target=nets\:net", ["nets:net"]),
        ("model.target=choice(nets:net,other:net)", ["nets:net", "other:net"]),
        ("model.target=${oc.env:TARGET}", ["nets:net"]),
        ("model.target=${oc.env:TARGET},other:net", ["nets:net", "other:net"]),
        ("model.target=${model.name}:net", ["module:net"]),
        ("++model.target=nets:net", ["nets:net"]),
    ],
)
def test_code_that_was_typed_is_taken_in_every_job(word, targets, monkeypatch):
    monkeypatch.setenv("TARGET", "nets:net")
    seen = []
    for words, config, recipe in jobs(word):
        check_code(recipe, words, config)
        seen.append(recipe.model.target)
    assert seen == targets


@pytest.mark.parametrize(
    "word",
    [
        "model.params={backbone: {target: nets:net, params: {sizes: [1, 2]}}}",
        "model.params={backbone: {target: 'nets:net'}},{backbone: {target: nets:net}}",
        "model.rewrites=[nets:net],[nets:net,nets:net]",
        "model.readers={.bin: nets:net}",
    ],
)
def test_typed_code_inside_lists_and_mappings_is_taken_in_every_job(word):
    for words, config, recipe in jobs("model.target=nets:net", word):
        check_code(recipe, words, config)


def test_an_interpolation_whose_value_is_no_legal_word_hides_no_code(monkeypatch):
    monkeypatch.setenv("FOLDER", "a (b")
    for words, config, recipe in jobs("model.target=nets:net", "bundle.folder=${oc.env:FOLDER}"):
        check_code(recipe, words, config)
        assert recipe.bundle.folder == "a (b"


def test_a_typed_name_does_not_vouch_for_code_of_the_same_text():
    typed = ["model.name=${model.params.evil}", "+model.params.evil=1"]
    ((_, config, recipe),) = jobs(
        "model.target=os:system", "+model.params.evil=os:system", typed[0]
    )
    with pytest.raises(RecipeError, match=r"model.target=os:system is code that a configuration"):
        check_code(recipe, typed, config)


@pytest.mark.parametrize(
    ("word", "readable"),
    [
        (r"model.target=nets\:net", "model.target=nets:net"),
        (r"bundle.folder=out/$\{backend.name\}", "bundle.folder=out/${backend.name}"),
        (r"model.file=a\=b", r"model.file=a\=b"),
        (r"model.file=a\,b", r"model.file=a\,b"),
        ("model.name='a\\'b'", "model.name='a\\'b'"),
    ],
)
def test_the_words_of_a_job_are_shown_as_they_can_be_typed(word, readable):
    assert readable_word(word) == readable


def test_an_unexpected_error_is_a_row_and_the_other_jobs_run_and_are_measured(nets_folder):
    words = (
        *("+model=module", f"+backend={BACKENDS[0]}", "cache=off", "hydra.sweep.dir=swept"),
        *("model.inputs={x: {shape: [1, 3, 8, 8]}}", "+pre=pixels"),
        *("model.post={target: nets:decode}", "model.params={width: 3}"),
        *(
            "model.target=nets:fails,nets:ends,nets:pictures",
            "bench.rounds=1",
            "bench.seconds=0.01",
        ),
    )
    done = run_here("deploy", "-m", *words, cwd=nets_folder)
    assert done.returncode == 1, done.stdout + done.stderr
    fails, ends, net = rows_of(nets_folder)
    assert fails["status"] == ends["status"] == "failed" and net["status"] == "passed"
    assert "the cut at [m] of [3]" in fails["error"]
    assert "SystemExit: no weights for [red]you[/red]" in ends["error"]
    assert "Traceback" not in done.stderr
    table = " ".join(done.stdout.partition("job ")[2].split())
    assert "the cut at [m] of [3]" in table and "for [red]you[/red]" in table
    assert "model.target=nets:fails" in table
    with (nets_folder / "swept" / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3
    assert "model.params={width:3}" in shlex.split(net["job"])
    check_measured(nets_folder, net, done.stdout)


def check_measured(folder: Path, row: dict[str, str], printed: str) -> None:
    """A bundle with code of one's own was measured at the end, and its own page says so too."""
    assert row["latency_problem"] == ""
    assert row["p50_ms"] == row["p50_low_ms"] == row["p50_high_ms"]
    assert "latency     p50" not in printed, "the job does not measure"
    assert "measured: 1 bundle in turns, 1 rounds" in printed and "machine: other work" in printed
    measured = json.loads((folder / "swept" / "sweep.json").read_text())
    assert list(measured["measurements"]) == ["2"] and measured["left_out"] == {}
    assert measured["measurements"]["2"]["rounds"] == [row["p50_ms"]]
    assert len(measured["machine"]) == 1
    page = (folder / "swept" / "2" / "bundle.work" / "report.html").read_text()
    assert f"from {float(row['p50_ms']):.2f} to" in page


def test_with_hydra_full_error_the_traceback_is_printed_and_the_table_too(nets_folder):
    words = ("model.target=nets:fails", "model.params={width: 1},{width: 2}")
    done = sweep(nets_folder, *words, HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert done.stderr.count("Traceback") >= 2 and 'nets.py", line' in done.stderr
    assert len(rows_of(nets_folder)) == 2


def test_an_error_that_all_jobs_share_is_printed_once(nets_folder):
    done = sweep(nets_folder, "model.target=nets:nothing", "bench.runs=0,1,2")
    assert done.returncode == 1
    reason = rows_of(nets_folder)[0]["error"].splitlines()[0]
    assert "nothing" in reason
    assert {row["error"].splitlines()[0] for row in rows_of(nets_folder)} == {reason}
    running, _, closing = done.stderr.partition("error of all 3 jobs: ")
    assert running.count(reason) == closing.count(reason) == 1
    assert running.count("error: the same as of job 0") == 2
    assert reason not in " ".join(done.stdout.split())


def test_the_table_of_a_sweep_has_no_row_of_an_earlier_one_in_its_folder(nets_folder):
    sweep(nets_folder, "model.target=nets:nothing", "bench.runs=0,1,2")
    sweep(nets_folder, "model.target=nets:nowhere", "bench.runs=0,1")
    assert ["nowhere" in row["job"] for row in rows_of(nets_folder)] == [True, True]


def test_jobs_in_folders_of_the_users_own_names_are_in_the_table(nets_folder):
    subdir = "hydra.sweep.subdir=${hydra.job.override_dirname}"
    done = sweep(nets_folder, "model.target=nets:nothing", "bench.runs=0,1", subdir)
    assert done.returncode == 1
    assert len(rows_of(nets_folder)) == 2
