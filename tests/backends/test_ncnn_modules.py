"""What pnnx makes of PyTorch's modules passes the check, and computes what they do."""

import os

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from backends.acceptance import TOLERANCES
from backends.error_metrics import compare_all
from backends.ncnn import Options
from backends.onnx.specs import read_segment

if "ncnn" not in os.environ.get("DEPLOY_TEST_BACKENDS", "ncnn").split(","):
    pytest.skip("ncnn is not among DEPLOY_TEST_BACKENDS", allow_module_level=True)

from backends.ncnn.convert import convert
from backends.ncnn.run import load

IMAGE, ROWS = (1, 3, 16, 20), (1, 7, 8)


class Of(nn.Module):
    """A function of modules and tensors."""

    def __init__(self, function, *parts):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, *tensors):
        return self.function(*self.parts, *tensors)


class Constants(nn.Module):
    """Weights that are added and multiplied as they are."""

    def __init__(self):
        super().__init__()
        self.channels = nn.Parameter(torch.randn(1, 3, 1, 1))
        self.image = nn.Parameter(torch.randn(1, 1, 16, 20))
        self.row = nn.Parameter(torch.randn(20))

    def forward(self, x):
        return (x * self.channels + self.image) * self.row


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 8, (3, 5), padding=(1, 2), dilation=(2, 1)),
        nn.BatchNorm2d(8),
        nn.LeakyReLU(0.1),
        nn.Conv2d(8, 8, 3, 2, 1, groups=8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, padding="same", groups=4),
        nn.PReLU(8),
        nn.GroupNorm(4, 8),
        nn.SiLU(),
        nn.InstanceNorm2d(8, affine=True),
        nn.ConvTranspose2d(8, 6, 4, 2, 1),
        nn.Hardswish(),
        nn.ConvTranspose2d(6, 6, 3, 2, 1, output_padding=1, groups=6),
    )


def pools_and_sizes(x):
    x = functional.avg_pool2d(functional.max_pool2d(x, 3, 2, 1), 3, 1, 1, count_include_pad=False)
    for pads, mode in (
        ((1, 2, 3, 4), "constant"),
        ((2, 1, 1, 2), "reflect"),
        ((1,) * 4, "replicate"),
    ):
        x = functional.pad(x, pads, mode=mode)
    x = functional.interpolate(functional.pixel_shuffle(x, 2), scale_factor=2.0)
    return functional.pixel_unshuffle(functional.interpolate(x, (18, 24), mode="bilinear"), 3)


def parts(x):
    first, second = x.chunk(2, 1)
    cut = torch.cat([second.sigmoid(), first], 1)[:, 1:5, 2:-1]
    turned = cut.permute(0, 2, 3, 1).reshape(1, -1, 4)
    return torch.cat([turned[..., :2].exp(), turned[..., 2:].tanh()], -1), cut.mean((2, 3))


def numbers(x):
    y = functional.softplus(functional.mish(functional.elu(x))) + functional.gelu(x).clamp(
        -0.5, 0.7
    )
    return (functional.softmax(y, 1) / (x.abs() + 1)).pow(2) - torch.maximum(x, y).erf()


MODULES = {
    "convolutions": (convolutions, IMAGE),
    "convolutions of lists": (
        lambda: nn.Sequential(
            nn.Conv1d(8, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(6, 6, 3, groups=6, stride=2),
            nn.MaxPool1d(2),
            nn.ConvTranspose1d(6, 4, 4, 2, 1),
        ),
        (1, 8, 32),
    ),
    "pools and sizes": (
        lambda: Of(lambda conv, x: pools_and_sizes(conv(x)), nn.Conv2d(3, 8, 1)),
        IMAGE,
    ),
    "parts": (lambda: Of(lambda conv, x: parts(conv(x)), nn.Conv2d(3, 8, 1)), IMAGE),
    "numbers": (lambda: Of(lambda conv, x: numbers(conv(x)), nn.Conv2d(3, 4, 1)), IMAGE),
    "constants": (Constants, IMAGE),
    "classifier": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
        ),
        (2, 3, 16, 16),
    ),
    "dense": (
        lambda: nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 4)),
        (1, 5, 8),
    ),
    "products": (
        lambda: Of(lambda a, b: torch.matmul(a, b.transpose(2, 3))),
        (1, 4, 6, 8),
        (1, 4, 5, 8),
    ),
    "lstm": (lambda: Of(lambda m, x: m(x)[0], nn.LSTM(8, 12, 2, True, True, 0.0, True)), ROWS),
    "gru": (lambda: Of(lambda m, x: m(x)[0], nn.GRU(8, 12, batch_first=True)), ROWS),
    "heads": (
        lambda: Of(functional.scaled_dot_product_attention),
        (1, 4, 6, 8),
        (1, 4, 7, 8),
        (1, 4, 7, 8),
    ),
    "encoder": (lambda: nn.TransformerEncoderLayer(16, 4, 32, 0.0, batch_first=True), (1, 6, 16)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODULES)
def test_what_pnnx_makes_of_a_module_passes_and_computes_what_it_does(name, tmp_path):
    make, *shapes = MODULES[name]
    torch.manual_seed(0)
    module = make().eval()
    tensors = tuple(torch.randn(shape) for shape in shapes)
    with torch.no_grad():
        wanted = module(*tensors)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    inputs = {f"x{at}": tensor.numpy() for at, tensor in enumerate(tensors)}
    outputs = {f"y{at}": tensor.numpy() for at, tensor in enumerate(wanted)}
    torch.onnx.export(
        module,
        tensors,
        tmp_path / "m.onnx",
        dynamo=True,
        input_names=list(inputs),
        output_names=list(outputs),
        verbose=False,
    )
    segment = read_segment(tmp_path / "m.onnx", "m", {})
    for fp16 in (False, True):
        out = tmp_path / str(fp16)
        out.mkdir()
        artifact = convert(segment, Options(fp16=fp16), out)
        with load(artifact, out) as runner:
            found = runner({name: np.ascontiguousarray(value) for name, value in inputs.items()})
        bound = TOLERANCES[artifact.precision]
        gaps = compare_all(outputs, found)
        assert all(bound.admits(gap) for gap in gaps), gaps
