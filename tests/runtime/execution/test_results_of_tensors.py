"""Bundles that take tensors or text: their results, here and in a process of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backends.contract import DeployError, Dynamic, EngineError, TensorSpec
from deploy.runtime import BundleError, Pipeline
from deploy.runtime.accuracy.sample_check import check_result
from deploy.runtime.bundle.manifest import PostStep, TextStep, read_manifest, write_manifest
from deploy.runtime.execution.text_front_ends import (
    TextError,
    TextFrontEndError,
    make_text_front_end,
)
from deploy.runtime.isolation.proxies import IsolatedChain, _count
from deploy.runtime.isolation.shared_memory import Message
from deploy.runtime.latency import timed_call
from deploy.runtime.vision.pre import Pre
from deploy.verify import ReferenceData, verify
from tests.conftest import step
from tests.fuzzing import seed_bundles

TOKENS = PostStep("tokens", ("y",), {"activation": "none"})
WORDS = {"classes": ("no", "yes", "maybe"), "post": TOKENS, "text": TextStep("words", {"ids": "x"})}
X = np.array([[1, 3]], np.float32)
ANY_BATCH = (Dynamic("n", 1, 1, 4), 2)


@pytest.fixture
def batches(make_bundle) -> Path:
    """A bundle of any batch that doubles two scores, and says which is larger."""
    x, y = TensorSpec("x", "float32", ANY_BATCH), TensorSpec("y", "float32", ANY_BATCH)
    artifact = replace(step("one", "x", "y"), inputs=(x,), outputs=(y,))
    return make_bundle([(artifact, 2.0)], inputs=(x,), outputs=(y,), **WORDS)


@pytest.fixture(scope="module")
def loop(tmp_path_factory) -> Path:
    """A bundle with a loop on the host, which writes tokens; another process can load it."""
    bundle = tmp_path_factory.mktemp("loop") / "bundle"
    seed_bundles.writer(bundle)
    post = PostStep("tokens", ("tokens",), {"end": 3})
    write_manifest(bundle, replace(read_manifest(bundle), post=post))
    return bundle


def test_each_input_of_a_batch_has_a_result(batches):
    with Pipeline.open(batches) as pipeline:
        results = pipeline.results({"x": np.array([[1, 3], [3, 1], [0, 1]], np.float32)})
        assert [result.summary(pipeline.classes) for result in results] == ["yes", "no", "yes"]
        assert results[0].scores[0, 0] == 6
        assert pipeline({"x": X})["y"].tolist() == [[2, 6]], "a call with tensors gives tensors"


def test_without_post_processing_there_are_no_results(make_bundle):
    with (
        Pipeline.open(make_bundle()) as pipeline,
        pytest.raises(DeployError, match=r"has no host step for its outputs\. Use pipeline\.chain"),
    ):
        pipeline.results({"x": X})


def test_a_picture_is_refused_with_what_to_call_instead(batches, make_bundle):
    with Pipeline.open(batches) as pipeline:
        message = r"takes text or tensors, not pictures\. Use pipeline\.answer\(TEXT\)"
        with pytest.raises(DeployError, match=message):
            pipeline("photo.jpg")
        without_text = replace(pipeline.manifest, text=None)
    with Pipeline.of(batches, without_text, trusted=True) as pipeline:
        message = r"takes tensors, not pictures\. Use pipeline\.results\(\{\.\.\.\}\)"
        with pytest.raises(DeployError, match=message):
            pipeline("photo.jpg")


def test_a_text_is_answered(batches):
    with Pipeline.open(batches) as pipeline:
        assert pipeline.encode("no yes")["x"].tolist() == [[0, 1]]
        assert pipeline.answer("no yes").summary(pipeline.classes) == "yes"
        assert pipeline.answer("yes no").summary(pipeline.classes) == "no"


@pytest.mark.parametrize("text", [7, b"yes", None, ["yes"]])
def test_what_is_no_text_is_refused(text, batches):
    with Pipeline.open(batches) as pipeline, pytest.raises(TextError, match="text: expected a str"):
        pipeline.answer(text)


def test_a_bundle_without_a_front_end_takes_no_text(make_bundle):
    with (
        Pipeline.open(make_bundle()) as pipeline,
        pytest.raises(DeployError, match=r"'m' takes no text\. .* model\.text named"),
    ):
        pipeline.answer("yes")


def test_a_front_end_that_is_nowhere_is_named_when_a_text_comes_and_tensors_still_run(make_bundle):
    bundle = make_bundle(post=TOKENS, text=TextStep("my.front_end", {}))
    with Pipeline.open(bundle) as pipeline:
        assert len(pipeline.results({"x": X})) == 1
        with pytest.raises(
            TextFrontEndError, match=r"'my\.front_end': expected one of characters, w"
        ):
            pipeline.answer("yes")


def test_the_only_row_is_repeated_where_a_chain_takes_several(make_bundle):
    x, y = TensorSpec("x", "float32", (3, 2)), TensorSpec("y", "float32", (3, 2))
    artifact = replace(step("one", "x", "y"), inputs=(x,), outputs=(y,))
    bundle = make_bundle([(artifact, 2.0)], inputs=(x,), outputs=(y,), **WORDS)
    with Pipeline.open(bundle) as pipeline:
        assert pipeline.encode("no yes")["x"].tolist() == [[0, 1]] * 3
        assert pipeline.answer("no yes").summary(pipeline.classes) == "yes"


@pytest.mark.parametrize("shape", [(1, 1 << 25), (1 << 25, 2), (Dynamic("n", 9, 9, 9), 1 << 22)])
def test_inputs_that_would_take_all_memory_are_refused_before_any_is_taken(shape, batches):
    spec = TensorSpec("x", "float32", shape)
    manifest = replace(read_manifest(batches), inputs=(spec,))
    with pytest.raises(TextFrontEndError, match="expected at most 16,777,216 elements"):
        make_text_front_end(manifest)


def test_an_entry_point_that_fails_is_an_error_that_names_it(batches, monkeypatch):
    def broken(**arguments: object) -> None:
        raise ValueError("hunter2")

    monkeypatch.setattr(
        "deploy.runtime.execution.text_front_ends.shipped_table", lambda *_: {"words": broken}
    )
    manifest = replace(read_manifest(batches), text=TextStep("words", {}))
    with pytest.raises(TextFrontEndError, match="text front end 'words': ValueError"):
        make_text_front_end(manifest)


def test_a_bundle_does_not_take_text_and_pictures(make_bundle):
    image = TensorSpec("x", "float32", (1, 3, 8, 8))
    pre = Pre("x", 8, 8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    bundle = make_bundle(inputs=(image,), pre=pre, text=TextStep("words", {}))
    with pytest.raises(BundleError, match="text: expected a bundle that takes text or pictures"):
        read_manifest(bundle)


def test_verification_counts_the_results_of_all_samples(batches):
    values = [{"x": x, "y": x * 2} for x in (X, np.array([[5, 1], [1, 5]], np.float32))]
    reference = ReferenceData(lambda inputs: values[0], values[0], (), None, others=values[1:])
    verdict = verify(batches, read_manifest(batches), reference)
    assert verdict.problem is None
    assert (len(verdict.expected), len(verdict.actual)) == (3, 3)
    notes = verdict.verification.notes
    assert (notes["tokens_matched"], notes["tokens"]) == (3, 3)


def test_tokens_that_differ_within_the_tolerance_of_tensors_are_a_problem(batches):
    x = np.array([[1, 1.0005]], np.float32)
    values = {"x": x, "y": np.array([[2.0015, 2.0008]], np.float32)}
    reference = ReferenceData(lambda inputs: values, values, (), None)
    verdict = verify(batches, read_manifest(batches), reference)
    message = r"does not find what PyTorch finds: expected at least 98% of tokens .*, got 0 of 1"
    with pytest.raises(DeployError, match=message):
        raise verdict.problem
    assert verdict.verification.status == "failed"


def test_outputs_that_the_reference_does_not_know_are_not_compared(make_bundle):
    bundle = make_bundle(
        [(step("body", "x", "a"), 2.0), (step("head", "a", "y"), 3.0)], post=TOKENS
    )
    values = {"x": X, "a": X * 2}
    reference = ReferenceData(lambda inputs: values, values, (), None)
    verdict = verify(bundle, read_manifest(bundle), reference)
    assert (verdict.expected, verdict.problem) == ((), None)
    assert "tokens" not in verdict.verification.notes


def test_check_compares_the_results_of_the_sample(batches, capsys):
    with Pipeline.open(batches) as pipeline:
        assert check_result(batches, pipeline)
    assert capsys.readouterr().out.startswith("ok  1 of 1 tokens matched")


def test_the_latency_of_post_processing_is_measured(batches):
    with Pipeline.open(batches) as pipeline:
        seconds = timed_call(batches, pipeline, None)()
    assert [*seconds] == ["one", "chain", "post", "total"]
    assert sum(seconds.values()) == pytest.approx(2 * seconds["total"], rel=1e-6)


def test_results_in_a_process_of_its_own_are_equal(loop):
    inputs = {"x": np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 3, 4)}
    with (
        Pipeline.open(loop, trusted=True) as here,
        Pipeline.open(loop, isolate="always") as apart,
    ):
        assert isinstance(apart.chain, IsolatedChain)
        (expected,), (actual,) = here.results(inputs), apart.results(inputs)
        assert len(expected.ids) > 1
        assert actual.to_json() == expected.to_json()
        assert actual.ids.tolist() == expected.ids.tolist()


def test_a_trial_runs_the_post_processing_without_a_picture(loop, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    inputs = {"x": np.ones((1, 3, 4), np.float32)}
    with Pipeline.open(loop, isolate="never") as pipeline:
        assert len(pipeline.results(inputs)) == 1


@pytest.mark.parametrize("count", [-1, 2, "1", None])
def test_a_process_that_claims_other_numbers_of_results_is_an_error(count):
    reply = Message({"0.ids": np.zeros(1)}, {"count": count})
    with pytest.raises(EngineError, match="answers with no results"):
        _count(reply)
