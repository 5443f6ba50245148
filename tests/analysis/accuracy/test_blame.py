"""The step that breaks a chain is ranked first; those that inherit its error are not named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backends.contract import EngineError
from deploy.analysis.accuracy.records import BlameError
from deploy.analysis.accuracy.replay import Replay
from deploy.runtime.bundle.manifest import (
    HostStep,
    PostStep,
    Verification,
    read_manifest,
    write_manifest,
)
from deploy.runtime.bundle.sample import DETECTIONS, IMAGE
from deploy.runtime.execution import host_steps
from deploy.runtime.execution import post_steps as posts
from deploy.runtime.vision.detections import Detections
from deploy.runtime.vision.image import Pre
from tests.conftest import entry, spec, step
from tests.helpers.commands import run_blame

X = np.array([[1, 2]], np.float32)


def chain_of(*factors: float):
    """Steps ``s0``, ``s1`` and so on from ``x`` over ``t0``, ``t1`` to ``y``."""
    names = ["x", *(f"t{n}" for n in range(len(factors) - 1)), "y"]
    return [(step(f"s{n}", names[n], names[n + 1]), factor) for n, factor in enumerate(factors)]


def with_work(bundle: Path, steps, right) -> Path:
    """Write the work folder and the bundle's sample: the reference multiplies by ``right``."""
    values = {"x": X}
    for (one, _), factor in zip(steps, right, strict=True):
        values[one.outputs[0].name] = values[one.inputs[0].name] * np.float32(factor)
    samples = bundle.with_name("bundle.work") / "artifacts"
    samples.mkdir(parents=True)
    for one, _ in steps:
        sides = {f"input/{one.inputs[0].name}": values[one.inputs[0].name]}
        sides[f"output/{one.outputs[0].name}"] = values[one.outputs[0].name]
        np.savez(samples / f"{one.name}.sample.npz", **sides)
    sample = bundle / "sample" / "tensors.npz"
    np.savez(sample, **{"input/x": X, "output/y": values["y"]})
    return sealed(bundle)


def sealed(bundle: Path, **changes: object) -> Path:
    """The manifest again, with the files as they are."""
    manifest = replace(read_manifest(bundle), **changes)
    paths = [path for path in bundle.rglob("*") if path.is_file() and path.suffix != ".json"]
    paths += [bundle / DETECTIONS] if (bundle / DETECTIONS).is_file() else []
    files = {path.relative_to(bundle).as_posix(): entry(path) for path in paths}
    write_manifest(bundle, replace(manifest, files=files))
    return bundle


@pytest.fixture
def make(make_bundle):
    """A bundle of a chain that should multiply by ``right``, and does by ``does``."""

    def made(does, right=(2.0, 3.0, 5.0), **fields):
        steps = chain_of(*does)
        return with_work(make_bundle(steps, **fields), steps, right)

    return made


def said(capsys, bundle, *words, code=1) -> str:
    with pytest.raises(SystemExit) as ended:
        run_blame(bundle, *words)
    assert ended.value.code == code, ended.value.code
    return capsys.readouterr().out


def refusal(bundle, *words) -> str:
    with pytest.raises(SystemExit) as ended:
        run_blame(bundle, *words)
    return str(ended.value.code)


def ranking(text: str) -> list[str]:
    """The steps of the table, in order."""
    rows = text.split("\n\n")[1].splitlines()[1:]
    return [row.split()[0] for row in rows if not row.startswith("(chain)")]


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_the_segment_that_is_wrong_comes_first_wherever_it_is(wrong, make, capsys):
    does = [2.0, 3.0, 5.0]
    does[wrong] *= 1.1
    text = said(capsys, make(does))
    tensor = ["t0", "t1", "y"][wrong]
    assert text.startswith(
        f"The step with the largest effect is segment 's{wrong}': with the reference's inputs its "
        f"error is max_rel 1.0e-01 (cosine 1.000000) at '{tensor}', beyond max_rel <= 0.001"
    )
    assert "the chain's error goes from 1.0e-01 to" in text
    assert ranking(text)[0] == f"s{wrong}"
    assert "Also" not in text


def test_two_wrong_segments_are_named_and_the_one_with_the_larger_effect_first(make, capsys):
    text = said(capsys, make([2.2, 3.0, 5.05]))
    assert ranking(text) == ["s0", "s2", "s1"]
    first, _, third = text.splitlines()[:3]
    assert first.startswith("The step with the largest effect is segment 's0'")
    assert third.startswith("Also segment 's2': with the reference's inputs its error is")


def test_own_and_inherited_errors_are_told_apart(make, capsys, tmp_path):
    bundle = make([2.2, 3.0, 5.0])
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


def test_every_step_of_a_faithful_chain_is_within_its_tolerance(make, capsys):
    text = said(capsys, make([2.0, 3.0001, 5.0]), code=0)
    assert text.startswith("Every step is within its tolerance; segment 's1' adds most")
    assert ranking(text)[0] == "s1"


def test_a_chain_without_any_error_has_no_step_that_adds_to_it(make, capsys):
    text = said(capsys, make([2.0, 3.0, 5.0]), code=0)
    first, second, *_ = text.splitlines()
    assert first.startswith("Every step is within its tolerance; segment 's")
    assert "has the largest own error: max_rel 0.0e+00" in first
    assert second == ""


def test_small_errors_that_only_together_are_too_large_have_one_that_adds_most(make, capsys):
    text = said(capsys, make([2.0, 3.0 * 1.0006, 5.0 * 1.0007]))
    assert text.startswith(
        "The chain does not agree with the reference, and segment 's2' adds most to its error, "
        "though its own error"
    )


def test_saved_metrics_are_judged_by_other_bounds_without_running_anything(make, capsys):
    bundle = make([2.0, 3.0001, 5.0])
    said(capsys, bundle, code=0)
    for path in [*bundle.rglob("factor.txt"), *bundle.with_name("bundle.work").rglob("*.npz")]:
        path.unlink()
    text = said(capsys, bundle, "--saved", "--max-rel", "1e-6")
    assert text.startswith("The step with the largest effect is segment 's1'")
    assert "beyond max_rel <= 1e-06 and cosine >= 0.9999" in text
    said(capsys, bundle, "--saved", "--max-rel", "1e-3", code=0)
    said(capsys, bundle, "--saved", "--cosine", "1.5", code=1)


def test_saved_metrics_of_an_earlier_bundle_are_refused(make, capsys):
    bundle = make([2.0, 3.0, 5.0])
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
def test_saved_metrics_that_are_none_are_refused(damage, message, make):
    bundle = make([2.0, 3.0, 5.0])
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
def test_a_work_folder_that_does_not_fit_is_refused(damage, message, make):
    bundle = make([2.0, 3.0, 5.0])
    damage(bundle.with_name("bundle.work") / "artifacts")
    error = refusal(bundle)
    with pytest.raises(BlameError, match=message):
        raise BlameError(error)
    assert "Run python -m deploy again for this bundle" in error


def test_a_segment_that_fails_comes_first_and_says_why(make, capsys):
    text = said(capsys, make([2.0, 0.0, 5.0]))
    assert text.startswith(
        "The step with the largest effect is segment 's1': with the reference's inputs its error is"
    )
    assert "(step 's1': the scaler is closed)" in text
    assert "Also" not in text


def test_what_is_asked_for_wrongly_is_refused(make, capsys):
    bundle = make([2.2, 3.0, 5.0])
    assert "Leave one of them out" in refusal(bundle, "--saved", "--bisect")
    assert "without --reference: got optimize=off" in refusal(bundle, "optimize=off")
    error = refusal(bundle, "--bisect", "--segment", "s9")
    assert "--segment: expected one of s0, s1, s2, got s9" in error
    error = refusal(bundle, "--bisect", "--segment", "s1")
    assert "segment 's1' is within its tolerance" in error and "a smaller --max-rel" in error
    assert "is not a bundle" in refusal(bundle.parent)


class Seen:
    """Two boxes, where the chain's two numbers say."""

    def batch(self, tensors):
        boxes = [[100 * place, 0, 100 * place + 10, 10] for place in tensors[0][0].tolist()]
        scores = np.array([0.9, 0.8], np.float32)
        return [Detections(np.array(boxes, np.float32), scores, np.zeros(2, np.int64))]


@pytest.fixture
def seeing(make, monkeypatch):
    """A bundle that finds two things in its sample picture, when it is right."""
    monkeypatch.setattr(posts, "_shipped", lambda: {"test.seen": Seen})

    def made(does):
        bundle = make(does, right=(0.5, 0.8, 1.0))
        Image.new("RGB", (4, 4)).save(bundle / IMAGE)
        right = Seen().batch([X * np.float32(0.4)])[0]
        (bundle / DETECTIONS).write_text(json.dumps(right.to_json()))
        pre = Pre("x", 4, 4, (0.0,) * 3, (1.0,) * 3, "rgb", 0.0)
        return sealed(bundle, pre=pre, post=PostStep("test.seen", ("y",), {}))

    return made


def test_detections_in_the_sample_picture_are_part_of_the_metric(seeing, capsys):
    text = said(capsys, seeing([0.1, 0.8, 1.0]))
    assert "and 4 of 4 detections match instead of 0 of 4" in text
    assert ranking(text)[0] == "s0"
    assert "0 of 4 detections" in text.split("(chain)")[1]


def test_the_share_of_detections_that_must_match_can_be_lowered(seeing, capsys):
    bundle, wide = seeing([0.3, 0.8, 1.0]), ("--max-rel", "1", "--cosine", "0")
    text = said(capsys, bundle, *wide)
    assert text.startswith("The chain does not agree with the reference, and segment 's0' adds")
    said(capsys, bundle, *wide, "--saved", "--min-matched", "0", code=0)


def test_the_share_that_a_bundle_was_verified_by_is_the_default(seeing, capsys):
    bundle, wide = seeing([0.3, 0.8, 1.0]), ("--max-rel", "1", "--cosine", "0")
    sealed(bundle, verification=Verification("passed", notes={"min_matched": 0.0}))
    said(capsys, bundle, *wide, code=0)
    said(capsys, bundle, *wide, "--saved", "--min-matched", "0.98")


class Times:
    def __init__(self, factor, source, target, segments=None):
        self.factor, self.source, self.target = factor, source, target
        self.segments = segments

    def __call__(self, inputs):
        if self.segments is not None:
            inputs = {self.source: self.segments["s1"]({"t0": inputs[self.source]})["t1"]}
        return {self.target: inputs[self.source] * np.float32(self.factor)}


@pytest.fixture
def hosting(make_bundle, monkeypatch):
    """A bundle of two segments and the host step ``host`` behind them, which may call ``s1``."""
    monkeypatch.setattr(host_steps, "_shipped", lambda: {"test.times": Times})

    def made(does, factor, calls=()):
        steps = chain_of(*does, 1.0)[:2]
        source = "t0" if calls else "t1"
        params = {"factor": factor, "source": source, "target": "y"}
        host = HostStep("host", "test.times", (spec(source),), (spec("y"),), params, calls)
        bundle = make_bundle(steps, host=(host,))
        with_work_and_end(bundle, steps, (2.0, 3.0), 30.0)
        return bundle

    return made


def with_work_and_end(bundle, steps, right, end):
    values = {"x": X, "t0": X * right[0], "t1": X * right[0] * right[1]}
    samples = bundle.with_name("bundle.work") / "artifacts"
    samples.mkdir(parents=True)
    for one, _ in steps:
        taken, given = one.inputs[0].name, one.outputs[0].name
        sides = {f"input/{taken}": values[taken], f"output/{given}": values[given]}
        np.savez(samples / f"{one.name}.sample.npz", **sides)
    np.savez(bundle / "sample/tensors.npz", **{"input/x": X, "output/y": X * np.float32(end)})
    sealed(bundle)


def test_a_host_step_is_one_more_kind_of_step(hosting, capsys):
    text = said(capsys, hosting([2.0, 3.0], factor=6.0))
    assert text.startswith(
        "The step with the largest effect is host step 'host': with the reference's"
    )
    assert ranking(text) == ["host", "s0", "s1"]


def test_a_host_step_has_no_graph_to_bisect(hosting):
    error = refusal(hosting([2.0, 3.0], factor=6.0), "--bisect")
    assert "host step 'host' is ranked first, and has no graph to bisect. Name a segment" in error


def test_a_segment_that_a_host_step_calls_comes_before_it(hosting, capsys):
    bundle = hosting([2.0, 3.3], factor=5.0, calls=("s1",))
    text = said(capsys, bundle)
    assert text.startswith(
        "The step with the largest effect is segment 's1': with the reference's inputs its error is"
    )
    assert "With the outputs of host step 'host' from the reference the chain's error goes" in text
    assert "Also host step 'host': with the reference's inputs its error is" in text
    assert ranking(text) == ["s1", "host", "s0"]
    assert "called by a host step" in text


def test_what_a_host_step_gives_counts_as_right_where_the_reference_has_no_value(
    make_bundle, monkeypatch, capsys
):
    monkeypatch.setattr(host_steps, "_shipped", lambda: {"test.times": Times})
    params = {"factor": 1.0, "source": "x", "target": "hidden"}
    first = HostStep("first", "test.times", (spec("x"),), (spec("hidden"),), params)
    params = {"factor": 1.0, "source": "hidden", "target": "t0"}
    second = HostStep("second", "test.times", (spec("hidden"),), (spec("t0"),), params)
    steps = [(step("s0", "t0", "y"), 2.2)]
    bundle = make_bundle(steps, host=(first, second))
    samples = bundle.with_name("bundle.work") / "artifacts"
    samples.mkdir(parents=True)
    np.savez(samples / "s0.sample.npz", **{"input/t0": X, "output/y": X * 2})
    np.savez(bundle / "sample/tensors.npz", **{"input/x": X, "output/y": X * 2})
    text = said(capsys, sealed(bundle))
    assert text.startswith("The step with the largest effect is segment 's0'")
    assert ranking(text)[0] == "s0"


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


def test_a_swap_behind_a_choice_goes_with_the_choice_of_the_reference():
    """The host orders rows the other way round than the reference does."""

    def take(inputs):
        return {"cells": inputs["rows"] * 10}

    def end(inputs):
        return {"y": inputs["rows"] + inputs["cells"]}

    total = replace(step("end", "rows", "y"), inputs=(spec("rows"), spec("cells")))
    pick = HostStep("pick", "test.pick", (spec("x"),), (spec("rows"),))
    steps = [pick, step("take", "rows", "cells"), total]
    runners = [lambda inputs: {"rows": inputs["x"][:, ::-1]}, take, end]
    replay = Replay(list(zip(steps, runners, strict=True)))
    actual = replay.run({"x": X})
    right = {"rows": X, "cells": X * 10, "y": X * 11}
    alone = replay.run_with_outputs(1, actual, {"cells": right["cells"]})
    assert alone["y"].tolist() == [[12, 21]], "rows of the one beside cells of the other"
    choice = {name: right[name] for name in replay.upstream_tensors(1) & {"rows", "cells", "y"}}
    with_choice = replay.run_with_outputs(1, actual, {**choice, "cells": right["cells"]})
    assert with_choice["y"].tolist() == right["y"].tolist()


def test_a_step_that_fails_in_a_swap_leaves_nothing_behind_it():
    def fail(inputs):
        raise EngineError("no")

    steps = [
        (step("one", "x", "t"), lambda inputs: {"t": inputs["x"]}),
        (step("two", "t", "y"), fail),
    ]
    replay = Replay(steps)
    assert replay.run_with_outputs(0, {"x": X, "t": X, "y": X}, {"t": X * 2}).keys() == {"x", "t"}
