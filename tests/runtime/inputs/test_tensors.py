"""Files of tensors are read for a chain's inputs, and outputs are written under any name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backends.contract import TensorError, TensorSpec
from deploy.runtime.inputs.tensors import read_tensors, write_tensors

SPECS = (TensorSpec("x", "float32", (1, 2)), TensorSpec("n", "int64", (1,)))
X, N = np.ones((1, 2), np.float32), np.array([3])


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("prefix", ["", "input/"])
def test_arrays_have_the_names_of_the_inputs_or_of_a_sample(prefix, tmp_path):
    more = {"output/y": X} if prefix else {}
    file = saved(tmp_path / "a.npz", **{f"{prefix}x": X, f"{prefix}n": N}, **more)
    arrays = read_tensors(file, SPECS)
    np.testing.assert_array_equal(arrays["x"], X)
    np.testing.assert_array_equal(arrays["n"], N)
    assert arrays.keys() == {"x", "n"}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, r"expected 'x' float32\[1, 2\], 'n' int64\[1\], got 'x'\. Write it by numpy"),
        ({"x": X, "hunter2": N}, "got 'x', 1 of other names"),
        ({}, "got none"),
        ({"x": X.astype(float), "n": N}, r"input 'x': .* float64.*by \.astype\('float32'\)"),
        ({"x": X[0], "n": N}, r"input 'x': expected float32\[1, 2\], got float32\[2\]$"),
        ({"x": np.array(["hunter2"]), "n": N}, "input 'x': expected float32"),
        ({"x": np.array([{}], object), "n": N}, "expected an .npz file of arrays, got another"),
    ],
)
def test_other_arrays_are_refused_by_name_and_not_shown(arrays, message, tmp_path):
    with pytest.raises(TensorError, match=message) as raised:
        read_tensors(saved(tmp_path / "a.npz", **arrays), SPECS)
    assert "hunter2" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_what_is_no_file_of_arrays_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"hunter2")
    with pytest.raises(TensorError, match=r"tensors '.*a\.npz': expected an \.npz file of arrays"):
        read_tensors(tmp_path / "a.npz", SPECS)
    with pytest.raises(TensorError, match=r"tensors '.*b\.npz': expected a file, got nothing"):
        read_tensors(tmp_path / "b.npz", SPECS)
    with pytest.raises(TensorError, match="expected a file, got a folder"):
        read_tensors(tmp_path, SPECS)


def test_outputs_are_read_back_by_numpy_whatever_their_names(tmp_path):
    arrays = {"file": X, "allow_pickle": N, "a/b.0": np.float32(2), "empty": np.zeros((0, 3))}
    write_tensors(tmp_path / "out.npz", arrays)
    with np.load(tmp_path / "out.npz") as stored:
        assert stored.files == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(stored[name], array)
            assert stored[name].dtype == np.asarray(array).dtype
