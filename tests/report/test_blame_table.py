"""Who is to blame comes into the report of the run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deploy.cli.main import run_command
from deploy.recipe.output_paths import WorkFile
from deploy.report.page import read_report, write_report
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import MANIFEST
from tests.conftest import step
from tests.report.samples import report


@pytest.fixture
def wrong_step_bundle(make_bundle) -> Path:
    """A step that should multiply by 2 and does by 3, with a report that does not say so."""
    made = make_bundle([(step("one", "x", "y"), 3.0)])
    work = made.with_name("bundle.work")
    (work / "artifacts").mkdir(parents=True)
    ones = np.ones((1, 2), np.float32)
    sides = {"input/x": ones, "output/y": ones * 2}
    np.savez(work / "artifacts" / "one.sample.npz", **sides)
    manifest = hash_file(made / MANIFEST).sha256
    write_report(work, report(manifest_sha256=manifest, blame=None))
    return made


def blamed(bundle: Path, capsys, *words: str) -> str:
    assert run_command("blame", [str(bundle), *words]) == 1
    return capsys.readouterr().err


def page(bundle: Path) -> str:
    return (bundle.with_name("bundle.work") / WorkFile.REPORT_PAGE).read_text()


def test_the_report_shows_who_is_to_blame(wrong_step_bundle, capsys):
    before = page(wrong_step_bundle)
    said = blamed(wrong_step_bundle, capsys)
    assert "the report shows it: " in said and "bundle.work/report.html" in said
    assert "The step with the largest effect is" not in before
    sentence = r"The step with the largest effect is segment &#39;one&#39;: .* is max_rel 5\.0e-01"
    assert re.search(sentence, page(wrong_step_bundle))
    kept = read_report(wrong_step_bundle.with_name("bundle.work"))
    assert kept is not None and kept.blame is not None and kept.blame.culprit == "one"
    assert kept.blame.header[0] == "step" and kept.blame.rows[0][0] == "one"


def test_other_bounds_give_another_blame(wrong_step_bundle, capsys):
    blamed(wrong_step_bundle, capsys)
    assert run_command("blame", [str(wrong_step_bundle), "--saved", "--max-rel", "2"]) == 0
    assert "Every step is within its tolerance" in page(wrong_step_bundle)


def test_a_report_of_another_run_is_left_as_it_is(wrong_step_bundle, capsys):
    work = wrong_step_bundle.with_name("bundle.work")
    kept = read_report(work)
    assert kept is not None
    write_report(work, replace(kept, manifest_sha256="0" * 64))
    before = page(wrong_step_bundle)
    assert blamed(wrong_step_bundle, capsys) == ""
    assert page(wrong_step_bundle) == before


def test_a_damaged_report_is_a_warning_and_the_blame_is_found(wrong_step_bundle, capsys):
    (wrong_step_bundle.with_name("bundle.work") / "report.json").write_text("{")
    assert "warning: the report does not show this: " in blamed(wrong_step_bundle, capsys)
