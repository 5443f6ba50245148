"""The step that breaks a chain is ranked first; those that inherit its error are not named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deploy.analysis.accuracy.records import BlameError
from tests.helpers.blame_bundles import X, ranking, refusal, said, sealed


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_the_segment_that_is_wrong_comes_first_wherever_it_is(wrong, make_wrong_chain, capsys):
    does = [2.0, 3.0, 5.0]
    does[wrong] *= 1.1
    text = said(capsys, make_wrong_chain(does))
    tensor = ["t0", "t1", "y"][wrong]
    assert text.startswith(
        f"The step with the largest effect is segment 's{wrong}': with the reference's inputs its "
        f"error is max_rel 1.0e-01 (cosine 1.000000) at '{tensor}', beyond max_rel <= 0.001"
    )
    assert "the chain's error goes from 1.0e-01 to" in text
    assert ranking(text)[0] == f"s{wrong}"
    assert "Also" not in text


def test_two_wrong_segments_are_named_and_the_one_with_the_larger_effect_first(
    make_wrong_chain, capsys
):
    text = said(capsys, make_wrong_chain([2.2, 3.0, 5.05]))
    assert ranking(text) == ["s0", "s2", "s1"]
    first, _, third = text.splitlines()[:3]
    assert first.startswith("The step with the largest effect is segment 's0'")
    assert third.startswith("Also segment 's2': with the reference's inputs its error is")


def test_own_and_inherited_errors_are_told_apart(make_wrong_chain, capsys, tmp_path):
    bundle = make_wrong_chain([2.2, 3.0, 5.0])
    said(capsys, bundle, "--json", str(tmp_path / "blame.json"))
    saved = json.loads((tmp_path / "blame.json").read_text())
    assert saved["ranked"][0] == "s0" and saved["bad"] == ["s0"]
    assert not saved["chain_good"]
    own = [one["own"][0]["max_rel"] for one in saved["steps"]]
    inherited = [one["inherited"][0]["max_rel"] for one in saved["steps"]]
    np.testing.assert_allclose(own, [0.1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(inherited, [0.1, 0.1, 0.1], rtol=1e-5)
    ends = [
        [one["swaps"][side]["gap"]["max_rel"] for side in ("inputs", "outputs")]
        for one in saved["steps"]
    ]
    np.testing.assert_allclose(ends, [[0.1, 0], [0, 0], [0, 0]], atol=1e-6)


def test_every_step_of_a_faithful_chain_is_within_its_tolerance(make_wrong_chain, capsys):
    text = said(capsys, make_wrong_chain([2.0, 3.0001, 5.0]), code=0)
    assert text.startswith("Every step is within its tolerance; segment 's1' adds most")
    assert ranking(text)[0] == "s1"


def test_a_chain_without_any_error_has_no_step_that_adds_to_it(make_wrong_chain, capsys):
    text = said(capsys, make_wrong_chain([2.0, 3.0, 5.0]), code=0)
    first, second, *_ = text.splitlines()
    assert first.startswith("Every step is within its tolerance; segment 's")
    assert "has the largest own error: max_rel 0.0e+00" in first
    assert second == ""


def test_small_errors_that_only_together_are_too_large_have_one_that_adds_most(
    make_wrong_chain, capsys
):
    text = said(capsys, make_wrong_chain([2.0, 3.0 * 1.0006, 5.0 * 1.0007]))
    assert text.startswith(
        "The chain does not agree with the reference, and segment 's2' adds most to its error, "
        "though its own error"
    )


def test_saved_metrics_are_judged_by_other_bounds_without_running_anything(
    make_wrong_chain, capsys
):
    bundle = make_wrong_chain([2.0, 3.0001, 5.0])
    said(capsys, bundle, code=0)
    for path in [*bundle.rglob("factor.txt"), *bundle.with_name("bundle.work").rglob("*.npz")]:
        path.unlink()
    text = said(capsys, bundle, "--saved", "--max-rel", "1e-6")
    assert text.startswith("The step with the largest effect is segment 's1'")
    assert "beyond max_rel <= 1e-06 and cosine >= 0.9999" in text
    said(capsys, bundle, "--saved", "--max-rel", "1e-3", code=0)
    said(capsys, bundle, "--saved", "--cosine", "1.5", code=1)


def test_saved_metrics_of_an_earlier_bundle_are_refused(make_wrong_chain, capsys):
    bundle = make_wrong_chain([2.0, 3.0, 5.0])
    said(capsys, bundle, code=0)
    sealed(bundle, model="another")
    assert "blame.json' is of an earlier bundle of this name" in refusal(bundle, "--saved")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda work: None, "blame.json': expected saved metrics, got nothing. Run without"),
        (lambda work: (work / "blame.json").write_text("{"), "blame.json' cannot be read"),
        (lambda work: (work / "blame.json").write_text("{}"), "field 'chain' is missing"),
    ],
)
def test_saved_metrics_that_are_none_are_refused(damage, message, make_wrong_chain):
    bundle = make_wrong_chain([2.0, 3.0, 5.0])
    damage(bundle.with_name("bundle.work"))
    assert message in refusal(bundle, "--saved")


def other_input(artifacts: Path) -> None:
    np.savez(artifacts / "s0.sample.npz", **{"input/x": X + 1, "output/t0": X})


def other_shape(artifacts: Path) -> None:
    np.savez(artifacts / "s1.sample.npz", **{"input/t0": X[0], "output/t1": X[0]})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: shutil.rmtree(path.parent), r"has no work folder: expected '.*bundle\.work'"),
        (shutil.rmtree, "has no work folder: .* got a folder without"),
        (lambda path: (path / "s1.sample.npz").unlink(), "there is no sample of segment 's1'"),
        (lambda path: (path / "s1.sample.npz").write_text("?"), "s1.sample.npz' is not an npz"),
        (other_shape, "another run than the bundle: the sample of segment 's1' has no 't0'"),
        (other_input, "another run than the bundle: the sample of 'x' is not the bundle's"),
    ],
)
def test_a_work_folder_that_does_not_fit_is_refused(damage, message, make_wrong_chain):
    bundle = make_wrong_chain([2.0, 3.0, 5.0])
    damage(bundle.with_name("bundle.work") / "artifacts")
    error = refusal(bundle)
    with pytest.raises(BlameError, match=message):
        raise BlameError(error)
    assert "Run python -m deploy again for this bundle" in error


def test_a_segment_that_fails_comes_first_and_says_why(make_wrong_chain, capsys):
    text = said(capsys, make_wrong_chain([2.0, 0.0, 5.0]))
    assert text.startswith(
        "The step with the largest effect is segment 's1': with the reference's inputs its error is"
    )
    assert "(step 's1': the scaler is closed)" in text
    assert "Also" not in text


def test_what_is_asked_for_wrongly_is_refused(make_wrong_chain, capsys):
    bundle = make_wrong_chain([2.2, 3.0, 5.0])
    assert "Leave one of them out" in refusal(bundle, "--saved", "--bisect")
    assert "without --reference: got optimize=off" in refusal(bundle, "optimize=off")
    error = refusal(bundle, "--bisect", "--segment", "s9")
    assert "--segment: expected one of s0, s1, s2, got s9" in error
    error = refusal(bundle, "--bisect", "--segment", "s1")
    assert "segment 's1' is within its tolerance" in error and "a smaller --max-rel" in error
    assert "is not a bundle" in refusal(bundle.parent)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("cli.blame", "numpy torch hydra omegaconf onnx onnx_ir"),
        ("analysis.accuracy.debugging", "torch hydra omegaconf onnx onnx_ir pycocotools"),
        ("analysis.accuracy.bisect", "torch hydra omegaconf"),
    ],
)
def test_it_loads_no_more_of_the_desk_than_it_needs(module, absent):
    code = (
        f"import sys, deploy.{module}\nprint(*sorted(set({absent.split()!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
