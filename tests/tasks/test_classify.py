"""Scores of classes: the likeliest, several at once, ties, and values that are no numbers.

The golden values of softmax and sigmoid are those of scipy.special 1.17.
"""

from __future__ import annotations

import numpy as np
import pytest

from backends.contract import TensorError
from deploy.runtime.execution.post_steps import PostError, check_post, make_post, result_class
from deploy.tasks.classify.post import Classify
from deploy.tasks.classify.result import Classification


def classes_of(*scores: float, labels: list[int] | None = None, exclusive: bool = True):
    array = np.array(scores, np.float32)
    ranked = np.argsort(-array, kind="stable") if labels is None else np.array(labels, np.int64)
    return Classification(array, ranked, exclusive)


def test_logits_become_shares_of_a_softmax():
    (result,) = Classify().batch([np.array([[1.0, -2.0, 3.5]], np.float32)])
    expected = [0.07557276, 0.00376255, 0.92066469]
    np.testing.assert_allclose(result.scores, expected, rtol=1e-5)
    assert result.labels.tolist() == [2, 0, 1]


def test_sigmoids_of_large_logits_do_not_overflow():
    with np.errstate(over="raise"):
        (result,) = Classify("sigmoid").batch([np.array([[1000, -1000, 0.5]], np.float32)])
    np.testing.assert_allclose(result.scores, [1, 0, 0.62245933], atol=1e-6)


def test_a_map_of_one_pixel_is_a_vector_of_scores():
    logits = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    flat, maps = Classify().batch([logits]), Classify().batch([logits[:, :, None, None]])
    assert [result.labels.tolist() for result in flat] == [r.labels.tolist() for r in maps]


def test_top_bounds_the_classes_of_each_input_of_a_batch():
    results = Classify("none", top=2).batch([np.array([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]])])
    assert [result.labels.tolist() for result in results] == [[2, 1], [0, 1]]


def test_a_threshold_gives_every_class_above_it_or_none():
    step = Classify("sigmoid", threshold=0.5)
    several, none = step.batch([np.array([[2.0, -2.0, 1.0], [-1.0, -1.0, -1.0]], np.float32)])
    assert several.labels.tolist() == [0, 2]
    assert several.summary(["ant", "bee", "cow"]) == "ant 0.881, cow 0.731"
    assert (none.labels.tolist(), none.summary()) == ([], "no class")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_give_no_class_and_agree_with_nothing(value):
    (result,) = Classify().batch([np.array([[1.0, value]], np.float32)])
    assert len(result) == 0
    assert Classification.agreement([result], [result]).matched == 0


def test_one_class_is_always_the_top_one():
    (result,) = Classify().batch([np.array([[-5.0]], np.float32)])
    assert (result.labels.tolist(), result.scores.tolist()) == ([0], [1.0])


def test_an_empty_batch_has_no_results():
    assert Classify().batch([np.empty((0, 3), np.float32)]) == []


@pytest.mark.parametrize("shape", [(3,), (1, 3, 2, 2), (1, 3, 4), (1, 0)])
def test_another_shape_is_refused(shape):
    with pytest.raises(TensorError, match=r"scores of classes: expected one tensor \[N, classes\]"):
        Classify().batch([np.zeros(shape, np.float32)])


def test_two_tensors_are_refused():
    with pytest.raises(TensorError, match=r"got \[1, 3\], \[1, 3\]"):
        Classify().batch([np.zeros((1, 3), np.float32)] * 2)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"top": 0}, "top: expected int from 1 to 100,000, got 0"),
        ({"activation": "tanh"}, "activation: expected 'softmax' or 'sigmoid' or 'none'"),
        ({"threshold": 2}, "threshold: expected .*float from 0 to 1"),
    ],
)
def test_parameters_are_checked(params, message):
    with pytest.raises(PostError, match=message):
        check_post("classify", params)


def test_the_step_is_found_by_its_id():
    assert isinstance(make_post("classify", {"top": 3}), Classify)
    assert result_class("classify") is Classification


def test_another_top_class_disagrees_and_the_figures_say_how_far():
    expected = [classes_of(0.9, 0.1), classes_of(0.6, 0.4)]
    actual = [classes_of(0.8, 0.2), classes_of(0.4, 0.6)]
    agreement = Classification.agreement(expected, actual)
    assert str(agreement) == "1 of 2 top classes matched, scores within 0.2000"
    assert agreement.details == {"score_difference": pytest.approx(0.2)}


def test_classes_that_only_rounding_ranks_agree_and_others_do_not():
    low, high = 0.4, 0.40001
    near = Classification.agreement([classes_of(low, high, 0.2)], [classes_of(high, low, 0.2)])
    assert (near.matched, near.total) == (1, 1)
    apart = Classification.agreement([classes_of(0.4, 0.41, 0.2)], [classes_of(0.41, 0.4, 0.2)])
    assert (apart.matched, apart.total) == (0, 1)


def test_a_tie_in_one_model_alone_disagrees():
    agreement = Classification.agreement([classes_of(0.4, 0.40001)], [classes_of(0.9, 0.1)])
    assert agreement.matched == 0


def test_of_several_labels_each_counts_and_those_on_the_threshold_are_the_same():
    expected = classes_of(0.9, 0.50001, 0.7, labels=[0, 2, 1], exclusive=False)
    actual = classes_of(0.9, 0.49999, 0.2, labels=[0], exclusive=False)
    agreement = Classification.agreement([expected], [actual])
    assert (agreement.matched, agreement.total, agreement.noun) == (2, 3, "classes")


def test_other_numbers_of_classes_disagree():
    assert Classification.agreement([classes_of(1.0)], [classes_of(0.5, 0.5)]).matched == 0


def test_arrays_give_the_result_back():
    result = classes_of(0.9, 0.8, labels=[0, 1], exclusive=False)
    again = Classification.from_arrays(result.to_arrays())
    assert again.to_json() == result.to_json()
    assert not again.exclusive


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros((1, 2), np.float32), np.zeros(1, np.int64), r"expected scores \(C,\) float32"),
        (np.zeros(2), np.zeros(1, np.int64), r"expected scores \(C,\) float32"),
        (np.zeros(2, np.float32), np.zeros(1), r"labels \(k,\) int64"),
        (np.zeros(2, np.float32), np.array([2]), "each label once and below 2"),
        (np.zeros(2, np.float32), np.array([-1]), "each label once and below 2"),
        (np.zeros(2, np.float32), np.array([1, 1]), "each label once and below 2"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        Classification.from_arrays({"scores": scores, "labels": labels, "exclusive": np.True_})


def test_lines_are_drawn_onto_the_picture_and_leave_it_as_it_was():
    picture = np.full((64, 64, 3), 200, np.uint8)
    drawn = np.asarray(classes_of(0.9, 0.1).draw(picture, ["ant", "bee"]))
    assert drawn.shape == picture.shape
    assert (drawn != picture).any() and (picture == 200).all()
