"""The loop on the host, with a decoder that says what it is told to."""

from __future__ import annotations

import numpy as np
import pytest

from backends.contract import TensorSpec
from deploy.models.seq2seq.host import Greedy
from deploy.runtime.bundle.manifest import HostStep
from deploy.runtime.execution.host_steps import HostStepError, make_host_function

START, END, PAD = 7, 1, 0
WIDTH = 3


class Told:
    """A decoder that writes these tokens, a list for each step with one for each row."""

    def __init__(self, *steps: list[int]) -> None:
        self.steps = steps
        self.calls: list[dict[str, np.ndarray]] = []

    def __call__(self, inputs):
        number = len(self.calls)
        self.calls.append({name: array.copy() for name, array in inputs.items()})
        tokens = self.steps[number]
        logits = np.zeros((len(tokens), 10), np.float32)
        logits[np.arange(len(tokens)), tokens] = 1
        return {"logits": logits, "fresh": np.full((1, len(tokens), WIDTH), number + 1.0, "f4")}


def write(decoder, rows=1, steps=4, **params):
    loop = Greedy({"decoder": decoder}, START, END, PAD, steps, **params)
    found = loop({"memory": np.zeros((rows, 5, WIDTH), "f4"), "mask": np.ones((rows, 1, 1, 5))})
    assert found["tokens"].dtype == np.int64
    return found["tokens"].tolist()


def test_it_stops_behind_the_token_that_ends_a_text():
    decoder = Told([4], [5], [END])
    assert write(decoder) == [[START, 4, 5, END]]
    assert len(decoder.calls) == 3


def test_a_text_may_end_at_once():
    assert write(Told([END])) == [[START, END]]


def test_it_stops_at_the_last_step_whatever_is_written():
    decoder = Told([4], [5], [6])
    assert write(decoder, steps=3) == [[START, 4, 5, 6]]
    assert len(decoder.calls) == 3


def test_a_row_that_has_ended_is_padded_while_others_go_on():
    decoder = Told([4, END, 4], [5, 9, END], [END, 9, 9])
    assert write(decoder, rows=3) == [
        [START, 4, 5, END],
        [START, END, PAD, PAD],
        [START, 4, END, PAD],
    ]


def test_without_rows_there_is_nothing_to_write():
    assert write(Told(), rows=0) == []


def test_padding_is_a_token_like_others_until_a_row_has_ended():
    assert write(Told([PAD], [4], [END])) == [[START, PAD, 4, END]]


def test_of_equal_logits_the_first_counts():
    def undecided(inputs):
        return {"logits": np.ones((1, 10), "f4"), "fresh": np.zeros((1, 1, WIDTH), "f4")}

    assert write(undecided, steps=2) == [[START, 0, 0]]


def test_first_and_last_tokens_can_be_given():
    assert write(Told([4], [5], [6]), steps=3, first=8, last=END) == [[START, 8, 5, END]]
    decoder = Told([4, 4], [END, 5], [9, 6])
    assert write(decoder, rows=2, steps=3, last=9) == [[START, 4, END, PAD], [START, 4, 5, 9]]


def test_the_decoder_gets_the_last_token_what_it_gave_and_all_other_inputs():
    decoder = Told([4], [5], [END])
    write(decoder)
    assert [call["token"].tolist() for call in decoder.calls] == [[[START]], [[4]], [[5]]]
    assert [call["past"].shape for call in decoder.calls] == [(n, 1, WIDTH) for n in (1, 2, 3)]
    assert decoder.calls[2]["past"][1:, 0, 0].tolist() == [1, 2]
    assert all(set(call) == {"memory", "mask", "token", "past"} for call in decoder.calls)


def test_what_a_bundle_names_is_found_and_its_parameters_are_checked():
    memory = TensorSpec("memory", "float32", (1, 5, WIDTH))
    tokens = TensorSpec("tokens", "int64", (1, 3))
    params = {"start": START, "end": END, "pad": PAD, "steps": 2}
    step = HostStep("write", "seq2seq.greedy", (memory,), (tokens,), params, ("decoder",))
    loop = make_host_function(step, {"decoder": Told([4], [5])})
    assert loop({"memory": np.zeros((1, 5, WIDTH), "f4")})["tokens"].tolist() == [[START, 4, 5]]
    with pytest.raises(HostStepError, match="expected a segment and steps >= 1, got 2 and 2"):
        make_host_function(step, {"decoder": Told(), "another": Told()})
    params["steps"] = 0
    with pytest.raises(HostStepError, match="steps: expected int from 1 to 10,000, got 0"):
        make_host_function(step, {"decoder": Told()})
