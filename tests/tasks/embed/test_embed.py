"""Encoders give vectors, compared by their cosines."""

from __future__ import annotations

import numpy as np
import pytest

from backends.contract import TensorError
from deploy.tasks.embed.post import Embed
from deploy.tasks.embed.result import Embedding


def vector(*numbers: float) -> Embedding:
    return Embedding(np.array(numbers, np.float32))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1, 1)])
def test_vectors_get_the_length_1_unless_they_are_zero(shape):
    first, second = Embed().batch([np.array([[1, 2, 2], [0, 0, 0]], np.float32).reshape(shape)])
    assert first.vector.tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    assert second.vector.tolist() == [0, 0, 0]
    plain = Embed(normalise=False).batch([np.array([[1, 2, 2]], np.float16)])
    assert plain[0].vector.tolist() == [1, 2, 2] and plain[0].vector.dtype == np.float32


@pytest.mark.parametrize("scale", [1e-38, 1e38])
def test_no_length_overflows_or_vanishes(scale):
    (result,) = Embed().batch([np.array([[3, 4]], np.float32) * np.float32(scale / 4)])
    assert result.vector.tolist() == pytest.approx([0.6, 0.8], abs=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "cosine"),
    [
        (vector(1, 0), vector(2, 0), 1.0),
        (vector(1, 0), vector(0, 1), 0.0),
        (vector(1, 0), vector(-1, 0), -1.0),
        (vector(0, 0), vector(1, 0), 0.0),
        (vector(np.nan, 0), vector(1, 0), 0.0),
        (vector(np.inf, 0), vector(np.inf, 0), 0.0),
    ],
)
def test_similarity_is_the_cosine(first, second, cosine):
    assert first.similarity(second) == cosine


def test_pairs_agree_where_they_point_the_same_way():
    near = vector(1, 0.01)
    agreement = Embedding.agreement([vector(1, 0), vector(1, 0)], [near, vector(1, 0.1)])
    assert (agreement.matched, agreement.total, agreement.noun) == (1, 2, "vectors")
    assert agreement.details["smallest_cosine"] == pytest.approx(0.99504, abs=1e-5)
    assert Embedding.agreement([vector(1, 0)], [vector(1, 0, 0)]).matched == 0
    assert Embedding.agreement([vector(0, 0)], [vector(0, 0)]).matched == 1
    assert Embedding.agreement([vector(np.nan)], [vector(np.nan)]).matched == 0
    assert Embedding.agreement([vector()], [vector()]).matched == 1
    with pytest.raises(ValueError, match="vectors of 2 and 3 numbers"):
        vector(1, 0).similarity(vector(1, 0, 0))


@pytest.mark.parametrize("shapes", [[], [(2,)], [(1, 2, 3)], [(1, 2, 2, 2)], [(1, 2), (1, 2)]])
def test_other_tensors_are_refused(shapes):
    with pytest.raises(TensorError, match=r"expected one tensor \[N, numbers\]"):
        Embed().batch([np.zeros(shape, np.float32) for shape in shapes])


def test_a_vector_crosses_as_it_is_and_is_told_in_a_line():
    result = vector(3, 4, 0, 0, 0, 0, 0)
    assert Embedding.from_arrays(result.to_arrays()).to_json() == [3, 4, 0, 0, 0, 0, 0]
    assert result.lines()[0].startswith("7 numbers, norm 5.0000: 3.0000, 4.0000, ")
    with pytest.raises(ValueError, match=r"expected a vector \(D,\) float32"):
        Embedding.from_arrays({"vector": np.zeros((2, 2), np.float32)})
