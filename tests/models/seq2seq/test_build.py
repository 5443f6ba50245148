"""The module around a model of transformers: its step, repeated, is ``generate``."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch
import transformers
from torch import nn

from backends.contract import MissingLibraryError
from deploy.mark import capture
from deploy.models.seq2seq.build import Seq2Seq
from deploy.models.seq2seq.host import Greedy

BUILD = "deploy.models.seq2seq.build"
ROWS = 16
TOKENS = {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
SIZES = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "max_position_embeddings": 32,
    "forced_eos_token_id": 1,
    "init_std": 0.5,
}
T5_SIZES = {"d_model": 32, "d_kv": 12, "d_ff": 64, "num_layers": 2, "num_heads": 4}
FAMILIES = {
    "T5ForConditionalGeneration": ("T5Config", {**T5_SIZES, "initializer_factor": 6.0}),
    "BartForConditionalGeneration": ("BartConfig", SIZES),
    "MBartForConditionalGeneration": ("MBartConfig", SIZES),
    "MarianMTModel": ("MarianConfig", {**SIZES, "scale_embedding": True}),
}


def random(family: str, steps: int = 12, attention: str = "eager") -> Seq2Seq:
    torch.manual_seed(0)
    config, sizes = FAMILIES[family]
    untied = {"vocab_size": 42, "tie_word_embeddings": False, "attn_implementation": attention}
    made = getattr(transformers, config)(**TOKENS, **untied, **sizes)
    return Seq2Seq(getattr(transformers, family)(made), steps)


def sources() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(2, 42, (ROWS, 6), generator=torch.Generator().manual_seed(1))
    patterns = [[1] * 6, [1] * 5 + [0], [0, 0, 1, 1, 1, 1], [1] + [0] * 5]
    return ids, torch.tensor(patterns * (ROWS // len(patterns)))


def looped(model: Seq2Seq, ids: torch.Tensor, mask: torch.Tensor, **params: int) -> list[list[int]]:
    """What the host step writes with the module's own step."""

    def decoder(inputs):
        with torch.no_grad():
            logits, fresh = model.step(**{key: torch.from_numpy(x) for key, x in inputs.items()})
        return {"logits": logits.numpy(), "fresh": fresh.numpy()}

    token, past = torch.zeros(ROWS, 1, dtype=torch.int64), torch.zeros(1, ROWS, model.width)
    with torch.no_grad(), capture() as values:
        model(ids, mask, token, past)
    given = {name: values[f"{name}:output.{name}"].numpy() for name in ("memory", "mask")}
    return Greedy({"step": decoder}, 0, 1, 0, 12, **params)(given)["tokens"].tolist()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_loop_writes_what_transformers_generates_for_padded_sources(family, attention):
    model = random(family, attention=attention)
    ids, mask = sources()
    expected = model.generate(ids, mask).tolist()
    forced = getattr(model.model.generation_config, "forced_eos_token_id", None)
    found = looped(model, ids, mask, **({} if forced is None else {"last": forced}))
    assert found == expected
    assert len({token for row in expected for token in row}) > 8, "too dull to tell anything"


def test_forward_alone_is_generate_and_the_step_changes_nothing_of_it():
    model = random("T5ForConditionalGeneration")
    ids, mask = sources()
    expected = model.model.generate(ids, attention_mask=mask, max_new_tokens=12, do_sample=False)
    token, past = torch.zeros(ROWS, 1, dtype=torch.int64), torch.randn(5, ROWS, model.width)
    assert torch.equal(model(ids, mask)["tokens"], expected)
    assert torch.equal(model(ids, mask, token, past)["tokens"], expected)


def test_heads_and_layers_are_those_of_the_decoder():
    assert random("BartForConditionalGeneration").width == 3 * 2 * 32
    assert random("T5ForConditionalGeneration").width == 2 * 2 * 48


def test_a_past_of_another_width_is_refused():
    model = random("T5ForConditionalGeneration")
    ids, mask = sources()
    with pytest.raises(ValueError, match="past: expected a width of 192, got 7"):
        model(ids, mask, ids[:, :1], torch.zeros(2, ROWS, 7))


def test_what_is_no_encoder_decoder_is_refused():
    with pytest.raises(ValueError, match=r"an encoder-decoder of transformers, got .*Linear"):
        Seq2Seq(nn.Linear(2, 2), 3)
    with pytest.raises(ValueError, match="expected max_new_tokens >= 1, got 0"):
        random("T5ForConditionalGeneration", steps=0)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (None, r"transformers cannot be imported: .*pip install '\.\[seq2seq\]'"),
        ("4.57.1", "transformers: expected 5 or later, got 4.57.1"),
    ],
)
def test_without_its_library_it_says_what_to_install(monkeypatch, version, message):
    monkeypatch.delitem(sys.modules, BUILD)
    if version is None:
        monkeypatch.setitem(sys.modules, "transformers", None)
    else:  # not of the name above: transformers puts another module into its own place
        monkeypatch.setattr(sys.modules["transformers"], "__version__", version)
    with pytest.raises(MissingLibraryError, match=message):
        importlib.import_module(BUILD)
