"""Arrays cross between processes bit by bit, and nothing beyond their memory is read."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

from deploy.runtime.bundle.manifest import DTYPES
from deploy.runtime.isolation.shared_arrays import ArrayHeader, SharedArrays, numpy_dtype

SHAPES = [(), (0,), (1,), (3, 0, 2), (2, 3, 5), (1000,), (64, 1024)]


@pytest.mark.parametrize("seed", range(20))
def test_arrays_come_out_as_they_went_in(seed):
    draw = random.Random(seed)
    with SharedArrays.create() as writer, SharedArrays(os.dup(writer.file)) as reader:
        for _ in range(5):
            arrays = {f"tensor {number}": _array(draw) for number in range(draw.randint(0, 6))}
            copies = reader.read(writer.write(arrays))
            assert list(copies) == list(arrays)
            for name, array in arrays.items():
                assert copies[name].dtype == array.dtype
                assert copies[name].shape == array.shape
                assert copies[name].tobytes() == array.tobytes()


def _array(draw: random.Random) -> np.ndarray:
    dtype, shape = numpy_dtype(draw.choice(sorted(DTYPES))), draw.choice(SHAPES)
    count = int(np.prod(shape)) * dtype.itemsize
    data = b"\x01\x00" * (count // 2 + 1) if dtype.kind == "b" else draw.randbytes(count)
    array = np.frombuffer(data[:count], dtype).reshape(shape)
    return array.T if draw.random() < 0.3 else array


HEADERS = [
    ArrayHeader("x", "object", (4,), 256),
    ArrayHeader("x", "str", (4,), 256),
    ArrayHeader("x", "V8", (4,), 256),
    ArrayHeader("x", "float32", (-1,), 256),
    ArrayHeader("x", "float32", (1 << 40,), 256),
    ArrayHeader("x", "float32", (1 << 62, 1 << 62), 256),
    ArrayHeader("x", "float32", (4,), -16),
    ArrayHeader("x", "float32", (4,), 1 << 40),
    ArrayHeader("x", "float32", (1,), (1 << 16) - 3),
]


@pytest.mark.parametrize("header", HEADERS, ids=str)
def test_a_header_that_fits_no_array_is_refused(header):
    with SharedArrays.create() as arrays, pytest.raises(ValueError, match="a header"):
        arrays.read([header])


def test_memory_cannot_be_taken_away_from_a_reader():
    with SharedArrays.create() as arrays, pytest.raises(PermissionError, match="not permitted"):
        os.ftruncate(arrays.file, 0)


def test_a_status_outlives_its_writer_and_is_cut():
    with SharedArrays.create() as arrays, SharedArrays(os.dup(arrays.file)) as reader:
        assert reader.read_status() == ""
        for text in ("step 'head'", "ü" * 1000, ""):
            arrays.write_status(text)
            assert text.startswith(reader.read_status().rstrip("\ufffd"))
            assert len(reader.read_status()) >= min(len(text), 127)


def test_no_file_is_left_open():
    before = _open_files()
    for _ in range(50):
        with SharedArrays.create() as arrays:
            arrays.write({"x": np.zeros(1 << 18)})
    del arrays
    assert _open_files() == before


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
