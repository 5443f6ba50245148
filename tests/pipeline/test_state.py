"""Models with state, from the command line to calls that carry it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.runtime import Pipeline
from tests.helpers.commands import BACKENDS, output_of, run_here

NETS = """\
import torch
from torch import nn


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("memory", torch.full((1, 8), 0.25))

    def forward(self, x):
        self.memory.mul_(0.5).add_(self.linear(x))
        return self.memory.tanh()


class Speech(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.cell, self.decoder = nn.Linear(8, 8), Cell(), nn.Linear(8, 4)

    def forward(self, x):
        return {"words": self.decoder(self.cell(self.encoder(x).relu()).relu())}


class Gru(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(8, 8)

    def forward(self, x, h):
        h = self.cell(x, h)
        return {"y": 2 * h, "hn": h}
"""
WORDS = ("deploy", "+model=module", "bench.runs=0", "bundle=b")
X = "model.inputs={x: {shape: [1, 8]}}"
MARK = "model.marks={cell: {module: cell}}"
SPEECH = ("model.target=state_nets:Speech", X, "model.state=[cell.memory]")
GRU = ("model.target=state_nets:Gru", "model.inputs={x: {shape: [1, 8]}, h: {shape: [1, 8]}}")


@pytest.fixture
def state_nets_folder(tmp_path: Path, monkeypatch) -> Path:
    (tmp_path / "state_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("state_nets", None)


def model_of(name):
    """The model as the factory is seeded for it."""
    torch.manual_seed(0)
    return getattr(__import__("state_nets"), name)().eval()


def random_chunks(count):
    generator = np.random.default_rng(1)
    return [generator.standard_normal((1, 8)).astype(np.float32) for _ in range(count)]


def speech(model, chunk):
    with torch.no_grad():
        return model(torch.from_numpy(chunk))["words"].numpy()


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("backend", [name for name in BACKENDS if "tensorrt" not in name])
def test_a_pipeline_carries_the_state_of_a_model_that_was_cut(state_nets_folder, backend):
    output_of(
        *WORDS, *SPEECH, MARK, "partition.cuts=[cell]", f"+backend={backend}", cwd=state_nets_folder
    )
    model = model_of("Speech")
    for isolate in ("never", "always"):
        model.cell.memory.fill_(0.25)
        with Pipeline.open(state_nets_folder / "b", isolate=isolate) as pipeline:
            for chunk in random_chunks(4):
                outputs = pipeline({"x": chunk})
                assert list(outputs) == ["words"]
                close(outputs["words"], speech(model, chunk))


def test_streams_have_a_state_each_and_begin_anew(state_nets_folder):
    output_of(*WORDS, *SPEECH, f"+backend={BACKENDS[0]}", cwd=state_nets_folder)
    models = [model_of("Speech"), model_of("Speech")]
    with Pipeline.open(state_nets_folder / "b") as pipeline:
        streams = [pipeline.open_stream(), pipeline.open_stream()]
        for number, chunk in enumerate(random_chunks(6)):
            stream, model = streams[number % 2], models[number % 2]
            close(stream({"x": chunk})["words"], speech(model, chunk))
        streams[0].reset()
        close(streams[0]({"x": chunk})["words"], speech(model_of("Speech"), chunk))
        streams[1].values = streams[0].values
        again = streams[0]({"x": chunk})["words"]
        np.testing.assert_array_equal(streams[1]({"x": chunk})["words"], again)


def test_inputs_and_outputs_that_the_model_has_already_are_carried(state_nets_folder):
    output_of(*WORDS, *GRU, "model.state={h: hn}", f"+backend={BACKENDS[0]}", cwd=state_nets_folder)
    model, h = model_of("Gru"), torch.zeros(1, 8)
    with Pipeline.open(state_nets_folder / "b") as pipeline, torch.no_grad():
        for chunk in random_chunks(3):
            expected = model(torch.from_numpy(chunk), h)
            h = expected["hn"]
            close(pipeline({"x": chunk})["y"], expected["y"].numpy())


def test_state_that_nobody_named_is_refused_with_the_words_to_write(state_nets_folder):
    words = (*WORDS, "model.target=state_nets:Speech", X, f"+backend={BACKENDS[0]}")
    message = run_here(*words, cwd=state_nets_folder).stderr
    assert "forward changes cell.memory, and a later result depends on it" in message
    assert "Pass 'model.state=[cell.memory]'" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*GRU, "model.state={h: hm}"), "model.state.h: expected an output of the model (y, hn)"),
        ((*SPEECH[:2], "model.state=[cell.memry]"), "keeps (cell.memory), got nothing"),
        (
            (*SPEECH, MARK, "partition.segments=[{name: a, start: [x], end: ['cell:output']}]"),
            "also",
        ),
        (
            (
                *SPEECH,
                MARK,
                "partition.segments=[{name: a, start: [x, cell_memory], end: [words]}]",
            ),
            "model.state needs 'cell_memory_next': expected an input or an output of the chain",
        ),
    ],
)
def test_a_state_that_the_chain_cannot_carry_is_one_error(state_nets_folder, words, message):
    ended = run_here(*WORDS, *words, f"+backend={BACKENDS[0]}", cwd=state_nets_folder)
    assert ended.returncode == 1
    assert message in ended.stderr
    assert not (state_nets_folder / "b").exists()


def test_a_random_model_is_the_same_for_every_backend_of_a_sweep(state_nets_folder):
    words = ("deploy", "-m", "+model=module", "bench.runs=0", "hydra.sweep.dir=s", "cache=cache")
    printed = output_of(
        *words, "model.target=state_nets:Gru", GRU[1], "+backend=onnxruntime,openvino",
        cwd=state_nets_folder,
    )  # fmt: skip
    exports = [line for line in printed.splitlines() if line.startswith("export")]
    assert any("from the cache" in line for line in exports), printed


def test_a_preset_takes_the_export_of_another(tmp_path):
    from deploy.cli.compose import compose

    presets = [compose(["+model=yolov3", *more]) for more in ([], ["+partition=by_stage"])]
    assert presets[0].model == presets[1].model
