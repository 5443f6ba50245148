"""A folder whose name is not UTF-8: every engine runs there, and what cannot work there says so."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from backends import registry
from backends.contract import DeployError
from backends.files import check_utf8
from deploy.runtime import Pipeline
from deploy.runtime.accuracy.sample_check import sample_agrees
from tests.fuzzing import seed_bundles
from tests.helpers import graphs
from tests.helpers.commands import BACKENDS
from tests.output.hostile import assert_printable, program

ODD = os.fsdecode(b"caf\xe9-\xff")
REFUSED = r"caf\udce9-\udcff"


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory) -> Path:
    """A folder of such a name, with a bundle, a picture and an ONNX file."""
    folder = tmp_path_factory.mktemp("paths") / ODD
    folder.mkdir()
    seed_bundles.detector(folder / ODD)
    shutil.copyfile(folder / ODD / "sample" / "image.png", folder / f"{ODD}.png")
    graphs.conv(folder / "net.onnx")
    return folder


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_engine_loads_and_runs_in_such_a_folder(backend, tmp_path):
    segment, plain = graphs.conv(tmp_path / "conv.onnx"), tmp_path / "plain"
    plain.mkdir()
    options = registry.options_type(backend)()
    artifact = registry.converter(backend)(segment, options, plain)
    shutil.copytree(plain, tmp_path / ODD)
    inputs = graphs.noise(segment)
    with registry.loader(backend)(artifact, plain) as runner:
        expected = runner(inputs)
    with registry.loader(backend)(artifact, tmp_path / ODD) as runner:
        found = runner(inputs)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_weights_beside_a_model_are_found_in_such_a_folder(tmp_path):
    pytest.importorskip("onnxruntime")
    seed_bundles.tiny_engine(tmp_path / "plain", "beside")
    shutil.copytree(tmp_path / "plain", tmp_path / ODD)
    with Pipeline.open(tmp_path / ODD, trusted=True) as pipeline:
        assert sample_agrees(tmp_path / ODD, pipeline)


COMMANDS = [
    ["deploy.runtime", "run", ODD, f"{ODD}.png", "--out", f"out-{ODD}", "--json", f"{ODD}.json"],
    ["deploy.runtime", "check", ODD],
    ["deploy.runtime", "bench", ODD, "--runs", "1", "--warmup", "1", "--image", f"{ODD}.png"],
    ["deploy.runtime", "tune", ODD, "--rounds", "1", "--threads", "1"],
    ["deploy", "bundle", "pack", ODD, f"{ODD}.zip"],
    ["deploy", "bundle", "verify", f"{ODD}.zip"],
    ["deploy", "bundle", "unpack", f"{ODD}.zip", f"new-{ODD}"],
]
REFUSING = [
    ["deploy", "model=onnx", "model.file=net.onnx", "backend=onnxruntime", f"bundle={ODD}"],
    ["deploy", "inspect", f"{ODD}.onnx"],
    ["deploy", "inspect", "net.onnx"],
    *([f"backends.{name}", "net.onnx", "out"] for name in BACKENDS),
]


def test_commands_on_bundles_work_with_such_paths(odd_folder):
    for words in COMMANDS:  # in this order
        ended = program(*words, cwd=odd_folder)
        assert ended.returncode == 0, ended
        assert_printable(ended.stdout + ended.stderr)


@pytest.mark.parametrize("words", REFUSING, ids=lambda words: " ".join(map(ascii, words)))
def test_what_cannot_work_with_such_a_path_says_so_in_one_line(odd_folder, words):
    ended = program(*words, cwd=odd_folder)
    assert ended.returncode == 1, ended
    (line,) = ended.stderr.decode().splitlines()
    assert line.startswith("error: ")
    assert REFUSED in line
    assert "Invoked with" not in line
    assert_printable(ended.stderr)


def test_a_path_that_is_utf8_is_not_refused(tmp_path):
    check_utf8(tmp_path / "Ü猫")
    with pytest.raises(DeployError, match=r"expected UTF-8. Rename it"):
        check_utf8(tmp_path / ODD)
