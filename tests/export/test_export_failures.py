"""What stops an export is one sentence: the line of the model's code, and what to write instead."""

from __future__ import annotations

import linecache
import re

import pytest
import torch
from torch import nn

from deploy.export.export_failures import ExportError
from deploy.export.onnx_export import export, reference_values

HEAD = "def forward(self, x):\n"
DEPENDS = "what its code does next depends on the values of a tensor"


def net_of(body: str, name: str = "user_net.py", monkeypatch=None) -> nn.Module:
    """A module whose forward has these lines, in a file of this name."""
    source = HEAD + "".join(f"    {line}\n" for line in body.splitlines())
    namespace = {"torch": torch}
    exec(compile(source, name, "exec"), namespace)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    return type("Net", (nn.Module,), {"forward": namespace["forward"]})()


def message_of(body: str, tmp_path) -> str:
    with pytest.raises(ExportError) as caught:
        export(net_of(body), {"x": torch.rand(2, 3)}, tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert not re.search(r"\bz?u[f]?0\b|FX|guard", message), "no words of the exporter"
    return message


@pytest.mark.parametrize(
    ("body", "line", "remedy"),
    [
        ("if x.sum() > 0:\n    x = x + 1\nreturn x", 2, "torch.where, write torch.cond"),
        ("y = x * 2\nreturn y if bool((y > 1).any()) else x", 3, "torch.where"),
        ("while x.max() > 0.1:\n    x = x / 2\nreturn x", 2, "Repeat it a fixed number of times"),
        ("return x[:, : int(x.sum())]", 2, "Keep the number a tensor: torch.where chooses by it"),
        ("a = x.sum(0).tolist()\nif a[0] > 1:\n    x = x + 1\nreturn x", 3, "torch.where"),
        ("n = x.sum().item()\nif n > 2:\n    x = x * n\nreturn x", 3, "torch.where"),
        ("assert (x >= 0).all()\nreturn x + 1", 2, "if not torch.compiler.is_exporting()"),
        ("y = x[x > 0.5]\nif y.shape[0] == 0:\n    y = x\nreturn y.sum()", 3, "torch.where"),
        ("for i in (x > 0.5).nonzero():\n    x = x + i.sum()\nreturn x", 2, "Keep the numb"),
    ],
)
def test_control_flow_on_data_names_its_line_and_what_to_write(tmp_path, body, line, remedy):
    message = message_of(body, tmp_path)
    text = body.splitlines()[line - 2]
    assert f"{DEPENDS} at user_net.py, line {line}, in forward ('{text}')" in message
    assert remedy in message
    assert "run_on_host in docs/host-steps.md" in message or "is_exporting" in message


def test_a_way_through_numpy_names_its_line(tmp_path):
    message = message_of("return torch.from_numpy(x.numpy() + 1)", tmp_path)
    assert "it leaves torch for NumPy at user_net.py, line 2, in forward" in message
    assert "Compute it with operators of torch, or let it run on the host" in message


@pytest.mark.parametrize(
    "body",
    [
        "return torch.where(x.sum() > 0, x + 1, x)",
        "return torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x.clone(), (x,))",
        "if not torch.compiler.is_exporting():\n    assert (x >= 0).all()\nreturn x + 1",
        "return x[x > 0.5].sum()",
        "return x * x.max().item()",
    ],
)
def test_what_the_remedies_say_does_export(tmp_path, body):
    export(net_of(body), {"x": torch.rand(2, 3)}, tmp_path)


def test_an_error_of_the_models_own_code_names_its_line_in_an_export_and_in_a_run(tmp_path):
    model = net_of("if x.shape[0] != 4:\n    raise ValueError('four rows')\nreturn x")
    line = re.escape(
        "four rows at user_net.py, line 3, in forward ('raise ValueError('four rows')')"
    )
    with pytest.raises(ExportError, match=f"the model cannot be exported: {line}"):
        export(model, {"x": torch.rand(2, 3)}, tmp_path)
    with pytest.raises(ExportError, match=f"does not run on its sample: {line}. Check shape"):
        reference_values(model, {"x": torch.rand(2, 3)})
