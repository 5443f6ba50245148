"""Tokens of a vocabulary: greedy, the best few, ends, ties, and what other libraries make of it.

``golden/decoding.npz`` is torch's greedy and top-k, and what the decoders of tokenizers make of
pieces; ``scripts/golden_tasks.py tokens`` wrote it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from backends.contract import TensorError
from deploy.runtime.execution.post_steps import PostError, check_post, make_post, result_class
from deploy.tasks.tokens.post import DecodeTokens, likeliest
from deploy.tasks.tokens.result import Tokens

WORDS = ["pad", "end", "five", "forty", "hundred"]


@pytest.fixture(scope="module")
def decoding_golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "golden" / "decoding.npz") as stored:
        return {name: stored[name] for name in stored.files}


def logits_of(*best: int, size: int = 5) -> np.ndarray:
    """Logits (1, T, size) of which these tokens are the best."""
    return np.eye(size, dtype=np.float32)[None, list(best)] * 4


def of_scores(*rows: list[float]) -> Tokens:
    (result,) = DecodeTokens(activation="none").batch([np.array([rows], np.float32)])
    return result


def test_greedy_and_the_best_few_are_those_of_torch(decoding_golden):
    results = DecodeTokens(top=3).batch([decoding_golden["logits"]])
    assert len(results) == 2
    for number, result in enumerate(results):
        assert result.ids[:, 0].tolist() == decoding_golden["greedy"][number].tolist()
        shares = decoding_golden["shares"][number]
        np.testing.assert_allclose(result.scores[:, :3], shares, rtol=2e-6, atol=1e-7)
        apart = np.diff(shares, axis=1).max(axis=1) < 0
        assert apart.sum() >= 8
        assert result.ids[apart, :3].tolist() == decoding_golden["ids"][number][apart].tolist()


@pytest.mark.parametrize("join", ["wordpiece", "sentencepiece", "none"])
def test_pieces_become_the_text_that_the_decoders_of_tokenizers_make(join, decoding_golden):
    pieces = decoding_golden[f"{join}_pieces"].tolist()
    (result,) = DecodeTokens(join=join).batch([np.arange(len(pieces))[None]])
    assert result.text(pieces) == str(decoding_golden[f"{join}_text"])


def test_the_end_cuts_a_sequence_and_ignored_tokens_are_left_out():
    logits = logits_of(0, 3, 0, 2, 1, 4, 1)
    (result,) = DecodeTokens(end=1, ignore=(0,)).batch([logits])
    assert (result.summary(WORDS), len(result)) == ("forty five", 2)
    (whole,) = DecodeTokens().batch([logits])
    assert whole.summary(WORDS) == "pad forty pad five end hundred end"


def test_tokens_that_a_model_has_decoded_itself_have_no_scores():
    ids = np.array([[0, 3, 2, 1], [0, 2, 1, 0]], np.int32)
    first, second = DecodeTokens(end=1, ignore=[0]).batch([ids])
    assert first.to_json(WORDS) == {
        "text": "forty five",
        "positions": [{"token": 3, "word": "forty"}, {"token": 2, "word": "five"}],
    }
    assert second.lines(WORDS) == [second.summary(WORDS)] == ["five"]


def test_one_position_is_the_next_token():
    (result,) = DecodeTokens(top=2).batch([np.array([[0.0, 1.0, 3.0]], np.float32)])
    assert result.to_json(WORDS)["positions"] == [
        {
            "token": 2, "word": "five", "score": pytest.approx(0.84379, abs=1e-5),
            "others": [{"token": 1, "word": "end", "score": pytest.approx(0.1142, abs=1e-5)}],
        }
    ]  # fmt: skip
    assert result.lines(WORDS) == ["five             0.844  end              0.114"]


def test_without_a_vocabulary_tokens_are_numbers_also_behind_its_end_and_below_zero():
    (result,) = DecodeTokens().batch([np.array([[3, 7, -2]])])
    assert result.summary() == "3 7 -2"
    assert result.summary(WORDS) == "forty 7 -2"
    assert "text" not in result.to_json()
    assert result.to_json(WORDS)["positions"][1:] == [{"token": 7}, {"token": -2}]


def test_half_precision_and_a_batch_of_several_are_taken():
    for dtype in (np.float16, np.float64):
        results = DecodeTokens().batch(
            [np.concatenate([logits_of(2, 3), logits_of(3, 1)], dtype=dtype)]
        )
        assert [result.summary(WORDS) for result in results] == ["five forty", "forty end"]


@pytest.mark.parametrize(
    ("tensor", "count"),
    [
        (np.zeros((0, 4, 5), np.float32), 0),
        (np.zeros((2, 0, 5), np.float32), 2),
        (np.zeros((0, 5), np.float32), 0),
        (np.zeros((2, 0), np.int64), 2),
    ],
)
def test_empty_batches_and_sequences_have_no_tokens(tensor, count):
    results = DecodeTokens(end=1).batch([tensor])
    assert len(results) == count
    for result in results:
        assert (len(result), result.summary(WORDS)) == (0, "no tokens")
        assert Tokens.from_arrays(result.to_arrays()).to_json() == result.to_json()
    assert Tokens.agreement(results, results).share == 1


def test_a_vocabulary_of_one_token_is_always_that():
    (result,) = DecodeTokens(top=4).batch([np.full((1, 2, 1), -3.0, np.float32)])
    assert (result.ids.tolist(), result.scores.tolist()) == ([[0], [0]], [[1.0], [1.0]])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_null_and_agree_with_nothing(value):
    logits = logits_of(2, 3)
    logits[0, 1] = value
    (result,) = DecodeTokens().batch([logits])
    assert (
        json.loads(json.dumps(result.to_json(), allow_nan=False))["positions"][1]["score"] is None
    )
    agreement = Tokens.agreement([result], [result])
    assert (agreement.matched, agreement.total) == (1, 2)
    assert agreement.details == {"score_difference": 0.0}


def test_of_equal_scores_the_first_is_the_best_however_many_there_are():
    scores = np.zeros((3, 1000), np.float32)
    scores[1, 400:] = 1
    scores[2] = -np.inf
    assert likeliest(scores, 5)[:, 0].tolist() == [0, 400, 0]
    assert likeliest(np.array([[np.nan, 1, 2]]), 3).tolist() == [[2, 1, 0]]


def test_another_token_disagrees_and_the_figures_say_how_far():
    expected = of_scores([0.9, 0.1, 0.0], [0.2, 0.8, 0.0])
    actual = of_scores([0.7, 0.3, 0.0], [0.6, 0.4, 0.0])
    agreement = Tokens.agreement([expected], [actual])
    assert str(agreement) == "1 of 2 tokens matched, scores within 0.2000"


def test_tokens_that_only_rounding_ranks_agree_and_others_do_not():
    first, second = of_scores([0.4, 0.40001, 0.1]), of_scores([0.40001, 0.4, 0.1])
    assert first.ids[0, 0] != second.ids[0, 0]
    assert Tokens.agreement([first], [second]).matched == 1
    apart = Tokens.agreement([of_scores([0.4, 0.41, 0.1])], [of_scores([0.41, 0.4, 0.1])])
    assert (apart.matched, apart.total) == (0, 1)
    one_sided = Tokens.agreement([first], [of_scores([0.9, 0.1, 0.0])])
    assert one_sided.matched == 0


def test_a_tie_at_the_end_leaves_the_positions_behind_it_comparable():
    def decoded(first: float, second: float) -> Tokens:
        scores = np.array([[[0, first, second], [0, 0.1, 0.9], [0, 0.2, 0.8]]], np.float32)
        return DecodeTokens(activation="none", end=1).batch([scores])[0]

    short, long = decoded(0.40001, 0.4), decoded(0.4, 0.40001)
    assert (len(short), len(long)) == (0, 3)
    assert str(Tokens.agreement([short], [long])).startswith("3 of 3 tokens matched")


def test_a_longer_sequence_of_decoded_tokens_disagrees_where_the_other_has_none():
    step = DecodeTokens(end=1, ignore=(0,))
    (short,), (long,) = step.batch([np.array([[2, 3, 1]])]), step.batch([np.array([[2, 3, 4, 2]])])
    agreement = Tokens.agreement([short], [long])
    assert str(agreement) == "2 of 4 tokens matched"
    assert Tokens.agreement([long], [short]).matched == 2


@pytest.mark.parametrize("join", ["space", "none", "sentencepiece", "wordpiece"])
def test_arrays_give_the_result_back(join):
    for tensor in (logits_of(2, 3, 1), np.array([[2, 3, 1]])):
        (result,) = DecodeTokens(end=1, join=join).batch([tensor])
        again = Tokens.from_arrays(result.to_arrays())
        assert again.to_json(WORDS) == result.to_json(WORDS)
        assert again.join == join


GOOD = {
    "ids": np.zeros((2, 3), np.int64),
    "shown": np.ones(2, bool),
    "scores": np.zeros((2, 3), np.float32),
    "top": np.array(2),
    "join": np.array(0),
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ids": np.zeros((2, 3), np.int32)}, r"expected ids \(T, k\) int64 and shown"),
        ({"ids": np.zeros(2, np.int64)}, r"expected ids \(T, k\) int64"),
        ({"ids": np.zeros((2, 0), np.int64)}, r"expected ids \(T, k\) int64"),
        ({"shown": np.ones(2)}, r"shown \(T,\) bool"),
        ({"shown": np.ones(3, bool)}, "shown for each position"),
        ({"scores": np.zeros((2, 3))}, r"scores \(T, k\) float32"),
        ({"scores": np.zeros((2, 2), np.float32)}, "one for each token"),
        ({"top": np.array(0)}, "a top from 1 up"),
        ({"join": np.array(4)}, "a join below 4"),
        ({"join": np.array(-1)}, "a join below 4"),
        ({"join": np.zeros(2, np.int64)}, "a single whole number"),
        ({"top": np.array("x")}, "a single whole number"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(changed, message):
    Tokens.from_arrays(GOOD)
    with pytest.raises(ValueError, match=message):
        Tokens.from_arrays({**GOOD, **changed})


def test_a_missing_array_is_named():
    with pytest.raises(KeyError, match="shown"):
        Tokens.from_arrays({name: GOOD[name] for name in ("ids", "top", "join")})


@pytest.mark.parametrize(
    "tensors",
    [
        [],
        [np.zeros((1, 2, 3, 4), np.float32)],
        [np.zeros(3, np.float32)],
        [np.zeros((1, 2, 0), np.float32)],
        [np.zeros((1, 0), np.float32)],
        [np.zeros((1, 2, 3), np.int64)],
        [np.zeros((1, 2), bool)],
        [np.zeros((1, 2), np.float32)] * 2,
    ],
)
def test_another_shape_is_refused(tensors):
    with pytest.raises(TensorError, match=r"expected one tensor of floats \[N, positions, voc"):
        DecodeTokens().batch(tensors)


def test_several_outputs_are_answered_with_how_to_name_one():
    with pytest.raises(TensorError, match=r"name the one: model\.post\.0\.inputs=\[logits\]"):
        DecodeTokens().batch([np.zeros((1, 2), np.float32)] * 2)


def test_the_best_few_of_decoded_tokens_are_refused():
    with pytest.raises(
        TensorError, match=r"top=3: expected one tensor of floats, got int64\[1, 2\]"
    ):
        DecodeTokens(top=3).batch([np.zeros((1, 2), np.int64)])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"top": 0}, "top: expected int from 1 to 100, got 0"),
        ({"activation": "tanh"}, "activation: expected 'softmax' or 'sigmoid' or 'none'"),
        ({"join": "comma"}, "join: expected 'space' or 'none' or 'sentencepiece' or 'wordpiece'"),
        ({"ignore": [2**40]}, r"ignore\[0\]: expected int from -2,147,483,648"),
        ({"end": "1"}, "end: expected .*int"),
    ],
)
def test_parameters_are_checked(params, message):
    with pytest.raises(PostError, match=message):
        check_post("tokens", params)


def test_the_step_is_found_by_its_id():
    assert isinstance(make_post("tokens", {"end": 1}), DecodeTokens)
    assert result_class("tokens") is Tokens
