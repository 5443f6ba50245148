"""From the command line to tokens that are those of PyTorch's ``generate``, engines mixed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backends.contract import EngineError
from deploy.cli.compose import compose
from deploy.export.build_model import build_model
from deploy.models.seq2seq.tokenizer import decode_tokens, encode_digits, number_to_words
from deploy.runtime import Pipeline
from deploy.runtime.accuracy.step_errors import chain_errors, first_violation
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.bundle.sample import read_sample
from tests.helpers.commands import BACKENDS, QUICK, output_of

pytestmark = pytest.mark.slow

NUMBERS = [0, 7, 42, 100, 905, 20_017, 300_000, 777_777, 999_999]
ANY_SIZE = [
    "model.inputs.input_ids.shape=[batch, length]",
    "model.inputs.attention_mask.shape=[batch, length]",
    "model.inputs.token.shape=[batch, 1]",
    "model.inputs.past.shape=[steps, batch, 256]",
    "+model.dynamic.batch=[1, 3, 9]",
    "+model.dynamic.length=[1, 6, 12]",
    "partition.host.0.outputs.tokens.shape=[rows, written]",
    "+partition.host.0.dynamic.rows=[1, 3, 9]",
]
T5 = """\
# @package _global_
defaults: [/model/seq2seq, _self_]
model:
  name: t5
  weights: null
  params: {model: {target: "my_t5:make", params: {config: null}}}
  inputs: {past: {shape: [steps, 1, 192]}}
  marks: {embedded: {module: model.encoder.embed_tokens}}
"""
MAKE_T5 = """\
import torch
from transformers import T5Config, T5ForConditionalGeneration


def make():
    torch.manual_seed(3)
    return T5ForConditionalGeneration(T5Config(
        vocab_size=42, d_model=32, d_kv=12, d_ff=64, num_layers=2, num_heads=4,
        decoder_start_token_id=0, eos_token_id=1, pad_token_id=0, initializer_factor=6.0,
        tie_word_embeddings=False, attn_implementation="eager"))
"""


@pytest.fixture(scope="module")
def model():
    return build_model(compose(["+model=seq2seq"]).model)


def deploy(folder: Path, *words: str) -> Path:
    output_of("deploy", *words, "+backend=onnxruntime", "bundle=b", QUICK, cwd=folder)
    assert read_manifest(folder / "b").verification.status == "passed"
    return folder / "b"


@pytest.fixture(scope="module")
def mixed_seq2seq_bundle(tmp_path_factory) -> Path:
    other = "ncnn" if "ncnn" in BACKENDS else "onnxruntime"
    folder = tmp_path_factory.mktemp("mixed")
    return deploy(folder, "+model=seq2seq", f"+backend@chain.encoder={other}")


def write(bundle: Path, model, ids: np.ndarray, mask: np.ndarray, rows: int = 1) -> list[str]:
    """What a bundle writes; every token must be PyTorch's."""
    texts = []
    with Pipeline.open(bundle) as pipeline:
        for start in range(0, len(ids), rows):
            given = ids[start : start + rows], mask[start : start + rows]
            found = pipeline.chain(dict(zip(("input_ids", "attention_mask"), given, strict=True)))
            expected = model.generate(*map(torch.from_numpy, given))
            assert found["tokens"].tolist() == expected.tolist()
            texts += [decode_tokens(row) for row in expected]
    return texts


def scrawl(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Six digits with padding anywhere, and everywhere in the first row."""
    rng = np.random.default_rng(5)
    mask = rng.integers(0, 2, (rows, 6))
    mask[0] = 0
    return rng.integers(2, 12, (rows, 6)), mask


def test_encoder_and_decoder_on_two_engines_write_what_pytorch_writes(mixed_seq2seq_bundle, model):
    manifest = read_manifest(mixed_seq2seq_bundle)
    engines = [step.backend for step in manifest.steps]
    assert engines[::2] == ["onnxruntime"] * 2 and ("ncnn" in engines) == ("ncnn" in BACKENDS)
    assert [str(spec) for spec in manifest.inputs] == ["int64[1, 6]", "int64[1, 6]"]
    gaps = {(item.step, item.gap.tensor): item.gap.max_abs for item in manifest.verification.gaps}
    assert gaps["chain", "tokens"] == gaps["greedy", "tokens"] == 0
    assert {("encoder", "memory"), ("decoder", "logits"), ("decoder", "fresh")} < set(gaps)
    texts = write(mixed_seq2seq_bundle, model, *encode_digits(NUMBERS))
    assert texts == [number_to_words(number) for number in NUMBERS]
    assert len(set(write(mixed_seq2seq_bundle, model, *scrawl(20)))) > 10
    assert (
        manifest.verification.notes["tokens_matched"] == manifest.verification.notes["tokens"] > 0
    )
    checked = output_of(
        "deploy.runtime", "check", mixed_seq2seq_bundle, cwd=mixed_seq2seq_bundle.parent
    )
    assert "ok  tokens" in checked and "tokens matched" in checked


def test_a_number_on_the_command_line_is_answered_in_words(mixed_seq2seq_bundle):
    given = ["run", mixed_seq2seq_bundle, "--text", "305", "--text", "804210"]
    words = ["three hundred five", "eight hundred four thousand two hundred ten"]
    printed = output_of("deploy.runtime", *given, cwd=mixed_seq2seq_bundle.parent)
    assert printed.splitlines() == [f"305: {words[0]}", f"804210: {words[1]}"]
    rows = json.loads(
        output_of("deploy.runtime", *given, "--json", "-", cwd=mixed_seq2seq_bundle.parent)
    )
    assert [row["tokens"]["text"] for row in rows] == words
    with Pipeline.open(mixed_seq2seq_bundle, isolate="always") as pipeline:
        assert pipeline.answer("42").summary(pipeline.classes) == "forty two"


def test_another_end_than_the_models_own_is_a_gap(mixed_seq2seq_bundle):
    manifest = read_manifest(mixed_seq2seq_bundle)
    (host,) = manifest.host
    wrong = replace(manifest, host=(replace(host, params={**host.params, "end": 5}),))
    sample = read_sample(mixed_seq2seq_bundle, manifest)
    with Pipeline.of(mixed_seq2seq_bundle, wrong) as pipeline:
        gaps = chain_errors(wrong, pipeline.chain, {**sample.inputs, **sample.outputs})
    assert "the chain does not agree with PyTorch at 'tokens'" in str(
        first_violation(wrong, gaps, "PyTorch")
    )


def test_what_the_decoder_does_not_take_names_the_host_step_and_the_segment(mixed_seq2seq_bundle):
    manifest = read_manifest(mixed_seq2seq_bundle)
    (host,) = manifest.host
    less = tuple(spec for spec in host.inputs if spec.name != "mask")
    wrong = replace(manifest, host=(replace(host, inputs=less),))
    message = "step 'greedy': segment 'decoder': inputs: expected token, past, memory, mask"
    with (
        Pipeline.of(mixed_seq2seq_bundle, wrong) as pipeline,
        pytest.raises(EngineError, match=message),
    ):
        pipeline.chain(read_sample(mixed_seq2seq_bundle, manifest).inputs)


def test_rows_and_lengths_may_vary_and_the_decoder_may_be_in_half_precision(tmp_path, model):
    half = ["chain.decoder.precision=fp16", "chain.decoder.cast.io=true"]
    words = ["+model=seq2seq", *ANY_SIZE, "+backend@chain.decoder=onnxruntime", *half]
    bundle = deploy(tmp_path, *words)
    assert str(read_manifest(bundle).outputs[0]) == "int64[1..9, 2..13]"
    assert read_manifest(bundle).steps[2].inputs[1].dtype == "float16"
    texts = write(bundle, model, *encode_digits(NUMBERS), rows=9)
    assert texts == [number_to_words(number) for number in NUMBERS]
    assert write(bundle, model, *encode_digits([31, 8], 2), rows=2) == ["thirty one", "eight"]


def test_another_family_on_another_engine_needs_only_other_lines(tmp_path, monkeypatch):
    (tmp_path / "my" / "model").mkdir(parents=True)
    (tmp_path / "my" / "model" / "t5.yaml").write_text(T5)
    (tmp_path / "my_t5.py").write_text(MAKE_T5)
    words = ["--config-dir", "my", "code=my_t5", "+model=t5", "~partition.host.0.params.last"]
    if "tensorrt" in BACKENDS:
        words += [f"+backend@chain.{name}=tensorrt" for name in ("encoder", "decoder")]
    bundle = deploy(tmp_path, *words)
    monkeypatch.syspath_prepend(tmp_path)
    model = build_model(compose(["code=my_t5", "+model=t5"], tmp_path / "my").model)
    assert len(set(write(bundle, model, *scrawl(8)))) > 4


def test_a_loop_on_the_host_runs_in_a_process_of_its_own(mixed_seq2seq_bundle):
    ids, mask = encode_digits(NUMBERS[:1])
    inputs = {"input_ids": ids, "attention_mask": mask}
    with (
        Pipeline.open(mixed_seq2seq_bundle) as here,
        Pipeline.open(mixed_seq2seq_bundle, isolate="always") as apart,
    ):
        assert apart.chain(inputs)["tokens"].tolist() == here.chain(inputs)["tokens"].tolist()
