"""Arrays cross between processes bit by bit, and nothing beyond their memory is read."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

from deploy.runtime.bundle.manifest import DTYPES
from deploy.runtime.isolation.shared_memory import PLACE, Message, SharedMemory, numpy_dtype

SHAPES = [(), (0,), (1,), (3, 0, 2), (2, 3, 5), (1000,), (64, 1024)]


@pytest.mark.parametrize("seed", range(20))
def test_arrays_come_out_as_they_went_in(seed):
    draw = random.Random(seed)
    with SharedMemory.create() as writer, SharedMemory(os.dup(writer.file)) as reader:
        for _ in range(5):
            arrays = {f"tensor {number}": _array(draw) for number in range(draw.randint(0, 6))}
            values = {"number": draw.random(), "text": "ü" * draw.randint(0, 9999)}
            copies, same = reader.read(writer.write(Message(arrays, values)))
            assert same == values
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


TEXTS = [
    b"",
    b"{",
    b"[]",
    b"[[], []]",
    b"[[], 3]",
    b"[3, {}]",
    b"[" * 100_000,
    b'[[["x"]], {}]',
    b'[[["x", "object", [4], 256]], {}]',
    b'[[["x", "str", [4], 256]], {}]',
    b'[[["x", "V8", [4], 256]], {}]',
    b'[[["x", ["float32"], [4], 256]], {}]',
    b'[[["x", "float32", [-1], 256]], {}]',
    b'[[["x", "float32", ["4"], 256]], {}]',
    b'[[["x", "float32", [1.5], 256]], {}]',
    b'[[["x", "float32", [1099511627776], 256]], {}]',
    b'[[["x", "float32", [4611686018427387904, 4611686018427387904], 256]], {}]',
    b'[[["x", "float32", [4], -16]], {}]',
    b'[[["x", "float32", [4], 1099511627776]], {}]',
    b'[[["x", "float32", [1], "256"]], {}]',
]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: str(text[:40]))
def test_a_message_of_another_form_is_refused(text):
    with SharedMemory.create() as memory:
        os.truncate(memory.file, 1 << 20)
        os.pwrite(memory.file, text, 300)
        with pytest.raises(ValueError, match=r"."):
            memory.read(PLACE.pack(300, len(text)))


@pytest.mark.parametrize("place", [(0, 1 << 40), (1 << 40, 10), (300, 1 << 17), (1 << 63, 1 << 63)])
def test_a_place_beyond_the_memory_is_refused(place):
    with SharedMemory.create() as memory, pytest.raises(ValueError, match="a message"):
        memory.read(PLACE.pack(*place))


def test_memory_cannot_be_taken_away_from_a_reader():
    with SharedMemory.create() as arrays, pytest.raises(PermissionError, match="not permitted"):
        os.ftruncate(arrays.file, 0)


def test_a_status_outlives_its_writer_and_is_cut():
    with SharedMemory.create() as arrays, SharedMemory(os.dup(arrays.file)) as reader:
        assert reader.read_status() == ""
        for text in ("step 'head'", "ü" * 1000, ""):
            arrays.write_status(text)
            assert text.startswith(reader.read_status().rstrip("\ufffd"))
            assert len(reader.read_status()) >= min(len(text), 127)


def test_no_file_is_left_open():
    before = _open_files()
    for _ in range(50):
        with SharedMemory.create() as arrays:
            arrays.write(Message({"x": np.zeros(1 << 18)}, {}))
    del arrays
    assert _open_files() == before


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
