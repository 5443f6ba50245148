"""Weights files: every format loads, and a wrong file says what is wrong with it."""

import json
import pickle
import re
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from deploy.export.weights import WeightsError, load_weights


@pytest.fixture
def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


@pytest.fixture
def state(net: nn.Module) -> dict[str, torch.Tensor]:
    return {
        key: torch.full_like(value, 0.5)
        for key, value in net.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }


def loads(net: nn.Module, path: Path) -> None:
    load_weights(net, path, {})
    assert float(net.state_dict()["0.weight"].mean()) == 0.5


def test_an_openmmlab_checkpoint_is_unwrapped(net, state, tmp_path):
    torch.save({"meta": {"epoch": 3}, "state_dict": state}, tmp_path / "a.pth")
    loads(net, tmp_path / "a.pth")


def test_a_prefix_around_every_key_is_dropped(net, state, tmp_path):
    wrapped = {f"module.model.{key}": value for key, value in state.items()}
    torch.save({"state_dict": wrapped}, tmp_path / "a.pth")
    loads(net, tmp_path / "a.pth")


def test_safetensors_load(net, state, tmp_path):
    save_file(state, tmp_path / "a.safetensors")
    loads(net, tmp_path / "a.safetensors")


LIES = {
    "overlapping tensors": {key: {"data_offsets": [0, 16]} for key in ("0.bias", "1.bias")},
    "a hole between tensors": {"0.bias": {"data_offsets": [1000, 1016]}},
    "the end before the beginning": {"0.bias": {"data_offsets": [16, 0]}},
    "beyond the file": {"0.bias": {"data_offsets": [1 << 40, (1 << 40) + 16]}},
    "numbers that overflow": {"0.bias": {"shape": [1 << 62, 1 << 62]}},
    "a dtype of another size": {"0.bias": {"dtype": "F64"}},
    "a dtype that is none": {"0.bias": {"dtype": "F128"}},
    "a negative size": {"0.bias": {"shape": [-4]}},
    "a shape of other elements": {"0.bias": {"shape": [5]}},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused_and_the_model_stays_as_it_was(lie, net, state, tmp_path):
    save_file(state, tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    for name, changes in LIES[lie].items():
        header[name] |= changes
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + data[8 + length :]
    (tmp_path / "a.safetensors").write_bytes(content)
    before = net.state_dict()["0.weight"].clone()
    with pytest.raises(WeightsError, match=r"weights '.*a\.safetensors'"):
        load_weights(net, tmp_path / "a.safetensors", {})
    assert torch.equal(net.state_dict()["0.weight"], before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_another_precision_of_the_same_numbers_is_converted(dtype, net, state, tmp_path):
    save_file({key: value.to(dtype) for key, value in state.items()}, tmp_path / "a.safetensors")
    loads(net, tmp_path / "a.safetensors")
    assert net.state_dict()["0.weight"].dtype == torch.float32


def test_a_models_own_format_is_read_by_its_reader(net, state, tmp_path):
    (tmp_path / "a.weights").write_bytes(b"x")
    load_weights(net, tmp_path / "a.weights", {".weights": lambda path, model: state})
    assert float(net.state_dict()["1.bias"].mean()) == 0.5


def test_keys_that_differ_are_named_by_kind(net, state, tmp_path):
    state["2.bias"] = state.pop("0.bias")
    state["1.weight"] = torch.zeros(7)
    save_file(state, tmp_path / "a.safetensors")
    message = (
        r"expected the model's 7 keys, got 1 missing \(0\.bias\); 1 unexpected \(2\.bias\); "
        r"1 of another shape \(1\.weight \[7\] instead of \[4\]\)"
    )
    with pytest.raises(WeightsError, match=message):
        load_weights(net, tmp_path / "a.safetensors", {})
    assert float(net.state_dict()["1.weight"].mean()) == 1.0, "nothing was loaded"


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("pwned"),))


def test_a_pickle_that_would_run_code_is_refused(net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"0.weight": Evil()}}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="not a checkpoint that loads without running code"):
        load_weights(net, tmp_path / "a.pth", {})
    assert not Path("pwned").exists()


def test_an_object_in_a_checkpoint_is_named_and_torchs_advice_to_load_it_is_not_repeated(
    net, tmp_path
):
    """As the log of MMEngine's runner, which a checkpoint from the middle of a training has."""
    torch.save({"state_dict": net.state_dict(), "log": Fraction(1)}, tmp_path / "epoch.pth")
    with pytest.raises(WeightsError, match=r": beside tensors it holds fractions\.Fraction\. Save"):
        load_weights(net, tmp_path / "epoch.pth", {})


@pytest.mark.parametrize("content", [b"not a checkpoint", b"", pickle.dumps({"a": 1})])
def test_the_fault_of_a_checkpoint_is_a_short_text(net, tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load_weights(net, tmp_path / "a.pth", {})
    fault = str(caught.value).partition("running code: ")[2].partition(". Save")[0]
    assert 0 < len(fault) < 80 and fault.isprintable() and "trust" not in fault


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pth", b"not a checkpoint", "loads without running code"),
        ("a.pth", b"", "loads without running code"),
        ("a.pth", pickle.dumps({"a": 1}), "loads without running code"),
        ("a.safetensors", b"\xff" * 100, "not a readable safetensors file"),
        ("a.onnx", b"", r"expected a file ending in \.pt, \.pth, \.safetensors, got \.onnx"),
    ],
)
def test_what_is_no_weights_file_is_refused(net, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_weights(net, tmp_path / name, {})


def test_a_checkpoint_without_tensors_is_refused(net, tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="expected a state dict of tensors, got other values"):
        load_weights(net, tmp_path / "a.pth", {})


def test_a_missing_file_is_named(net, tmp_path):
    path = tmp_path / "none.pth"
    with pytest.raises(WeightsError, match=re.escape(f"weights '{path}': expected a file")):
        load_weights(net, path, {})
