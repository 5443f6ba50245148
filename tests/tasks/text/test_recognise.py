"""Scores of characters at each step become a text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backends.contract import TensorError
from deploy.runtime.execution.post_steps import PostError, make_post
from deploy.tasks.text.ctc import RecogniseText
from deploy.tasks.text.transcript import UNKNOWN, Transcript, edit_distance

GOLDEN = Path(__file__).parent / "golden" / "ctc.npz"
ABC = ["a", "b", "c"]


def steps(*labels: int, outputs: int = 4) -> np.ndarray:
    """Probabilities (1, T, outputs) with 0.75 at one output of each step."""
    scores = np.full((1, len(labels), outputs), 0.25 / max(1, outputs - 1), np.float32)
    scores[0, np.arange(len(labels)), labels] = 0.75
    return scores


def read(outputs: np.ndarray, **params: object) -> Transcript:
    (line,) = RecogniseText(**params).batch([outputs])
    return line


def line_of(*labels: int, outputs: int = 9, score: float = 0.9) -> Transcript:
    scores = np.full(len(labels), score, np.float32)
    return Transcript(np.array(labels, np.int64), scores, outputs)


def test_texts_and_scores_are_those_of_rapidocr():
    golden = np.load(GOLDEN)
    lines = RecogniseText(characters=len(golden["characters"])).batch([golden["outputs"]])
    assert [line.text(golden["characters"].tolist()) for line in lines] == golden["texts"].tolist()
    assert [line.score for line in lines] == pytest.approx(golden["scores"].tolist(), abs=1e-5)
    assert golden["texts"].tolist()[:2] == ["Hello 2 worlds", "good food, 1000 %"]


def test_repeated_outputs_are_one_character_unless_a_blank_is_between():
    line = read(steps(0, 1, 1, 0, 1, 2, 2, 2, 3, 0))
    assert line.text(ABC) == "aabc" and line.score == pytest.approx(0.75)
    assert line.labels.tolist() == [1, 1, 2, 3]


@pytest.mark.parametrize(("blank", "said"), [(0, "bc"), (-1, "ac"), (3, "ac"), (1, "ac")])
def test_the_blank_may_be_any_output(blank, said):
    labels = {0: (2, 0, 3), -1: (0, 3, 2), 3: (0, 3, 2), 1: (0, 1, 3)}[blank]
    assert read(steps(*labels), blank=blank).text(ABC) == said


def test_axes_may_be_steps_first():
    both = np.concatenate((steps(1, 2), steps(3, 0)))
    lines = RecogniseText(layout="TNC").batch([both.transpose(1, 0, 2)])
    assert [line.text(ABC) for line in lines] == ["ab", "c"]


def test_logits_get_the_scores_of_their_softmax():
    probabilities = steps(1, 0, 2)
    for logits in (np.log(probabilities), np.log(probabilities) + 40):
        line = read(logits, scores="logits")
        assert line.text(ABC) == "ab" and line.score == pytest.approx(0.75)
    with np.errstate(divide="ignore"):
        certain = np.log(np.eye(4, dtype=np.float32)[None, [1, 2]])  # zeros are -inf
    assert read(certain, scores="logits").score == 1


def test_logits_that_are_taken_for_probabilities_are_refused():
    with pytest.raises(TensorError, match=r"from 0 to 1, got values beyond.*scores: logits"):
        read(np.log(steps(1, 2)))
    rounded = steps(1, 2) + np.float32(0.004)  # of half precision
    assert read(rounded.clip(0, 1.004)).text(ABC) == "ab"


@pytest.mark.parametrize("scores", ["probabilities", "logits"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_step_that_is_no_number_is_a_blank(scores, value):
    given = steps(1, 1, 1, 2) if scores == "probabilities" else np.log(steps(1, 1, 1, 2))
    assert read(given, scores=scores).text(ABC) == "ab"
    given[0, 1, 3] = value
    assert read(given, scores=scores).text(ABC) == "aab"
    given[...] = value
    assert read(given, scores=scores).text(ABC) == ""


def test_nothing_but_blanks_is_no_text():
    for empty in (steps(0, 0, 0), np.zeros((1, 0, 4), np.float32), np.ones((1, 3, 1), np.float32)):
        line = read(empty)
        assert (line.text(ABC), line.score, line.lines(ABC), line.summary(ABC)) == (
            ("", 0.0, [], "no text")
        )
        assert line.to_json(ABC) == [{"text": "", "score": 0.0}]
    assert RecogniseText().batch([np.zeros((0, 5, 4), np.float32)]) == []


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["a", "b", "c"], "abc"),
        (["-", "a", "b", "c"], "abc"),  # with the blank
        (["a", "b"], "ab "),  # and a space
        (["a"], f"a{UNKNOWN}{UNKNOWN}"),
        (["a", "b", "c", "d", "e"], "abc"),
    ],
)
def test_classes_name_the_outputs_with_or_without_blank_and_space(classes, said):
    assert line_of(1, 2, 3, outputs=4).text(classes) == said


def test_a_model_with_other_characters_is_refused():
    for count in (2, 3, 4):
        assert len(read(steps(1, 2), characters=count)) == 2
    for count in (1, 5):
        with pytest.raises(TensorError, match=rf"each of {count} characters.*got 4.*classes=FILE"):
            read(steps(1, 2), characters=count)


def test_a_blank_that_the_model_does_not_have_is_refused():
    with pytest.raises(TensorError, match=r"more than 4 scores at each step.*got 4.*blank: -1"):
        read(steps(1, 2), blank=4)
    with pytest.raises(PostError, match=r"blank: expected int from -1 to 100,000, got -2"):
        make_post("text.recognise", {"blank": -2})


@pytest.mark.parametrize("shapes", [[], [(2, 3)], [(1, 2, 0)], [(1, 2, 3, 4)], [(1, 2, 3)] * 2])
def test_other_tensors_are_refused(shapes):
    with pytest.raises(TensorError, match=r"one tensor \[N, steps, outputs\].*inputs: \[NAME\]"):
        RecogniseText().batch([np.zeros(shape, np.float32) for shape in shapes])


def test_lines_agree_where_their_texts_are_equal():
    expected = [line_of(1, 2, 3), line_of(1, 2, 3), line_of()]
    agreement = Transcript.agreement(expected, [line_of(1, 2, 3), line_of(1, 3, 3, 4), line_of()])
    assert (agreement.matched, agreement.total, agreement.noun) == (2, 3, "texts")
    assert agreement.details["mean_edit_distance"] == pytest.approx(2 / 3)
    assert Transcript.agreement([], []).share == 1.0


def test_the_edit_distance_is_that_of_a_plain_table():
    rng = np.random.default_rng(0)
    for _ in range(30):
        first, second = (rng.integers(0, 4, rng.integers(0, 9)) for _ in range(2))
        table = [list(range(len(second) + 1))]
        for row, one in enumerate(first, start=1):
            table.append([row])
            for column, other in enumerate(second, start=1):
                changed = table[-2][column - 1] + int(one != other)
                table[-1].append(min(changed, table[-2][column] + 1, table[-1][column - 1] + 1))
        assert edit_distance(first, second) == table[-1][-1]


def test_a_line_is_told_with_its_text_or_without_classes_its_labels():
    line = line_of(1, 2, outputs=4, score=0.5)
    assert line.lines(ABC) == ["0.500  ab"] and line.lines() == ["0.500  1 2"]
    assert line.to_json() == [{"labels": [1, 2], "score": 0.5}]
    assert line.summary() == "2 characters" and line_of(1).summary() == "1 character"
    assert line.above(0.5).lines() == line.lines() and len(line.above(0.6)) == 0


def test_a_text_is_written_onto_its_picture():
    picture = np.full((48, 160, 3), 200, np.uint8)
    assert (np.asarray(line_of(1, 2).draw(picture, ABC)) != 200).any()
    assert (np.asarray(line_of().draw(picture, ABC)) == 200).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": np.array([9], np.int64)},
        {"labels": np.array([0], np.int64)},
        {"labels": np.array([-1], np.int64)},
        {"labels": np.array([1.0])},
        {"labels": np.array([1, 2], np.int64)},
        {"scores": np.array([np.nan], np.float32)},
        {"scores": np.array([0.5])},
        {"outputs": np.array([4])},
        {"blank": np.array(0.5)},
    ],
)
def test_arrays_of_a_stranger_that_are_no_text_are_refused(changes):
    good = line_of(3)
    with pytest.raises(ValueError, match="expected "):
        Transcript.from_arrays({**good.to_arrays(), **changes})
    assert Transcript.from_arrays(good.to_arrays()).to_json() == good.to_json()
