"""The demos of a classifier and a segmenter: their scores, and the weights of others."""

from __future__ import annotations

import hashlib
import json

import pytest

from deploy.models.resnet.build import ResNet
from deploy.models.unet.build import UNet
from tests.helpers.commands import BACKENDS, output_of

ENGINES = [name for name in ("onnxruntime", "openvino", "ncnn") if name in BACKENDS]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "agreement", "score", "least"),
    [
        ("resnet", "12 of 12 top classes matched", "top_1", 0.9),
        ("unet", "pixels matched", "miou", 0.8),
    ],
)
def test_a_demo_keeps_its_scores_on_every_engine(model, agreement, score, least, tmp_path):
    for engine in ENGINES:
        words = [f"+model={model}", f"+backend={engine}", "verify.images=12", "bench.runs=0"]
        said = output_of("deploy", *words, "verify.eval=true", f"bundle={engine}", cwd=tmp_path)
        assert agreement in said
        notes = json.loads((tmp_path / engine / "manifest.json").read_text())
        notes = notes["verification"]["notes"]
        assert notes[f"torch_{score}"] > least
        assert notes[score] == pytest.approx(notes[f"torch_{score}"], abs=0.005)


@pytest.mark.parametrize(
    ("depth", "digest"),
    [
        (18, "0622374c2749e17b"),
        (34, "380ae48636312fff"),
        (50, "be46530bbcb904b8"),
        (101, "b33c27989125e6e9"),
        (152, "82a88cc63dd83cf6"),
    ],
)
def test_a_resnet_takes_the_weights_of_torchvision(depth, digest):
    # of names and shapes in torchvision 0.29.1, whose outputs with these weights are equal
    with_shapes = {name: tuple(value.shape) for name, value in ResNet(depth).state_dict().items()}
    text = repr(sorted(with_shapes.items()))
    assert hashlib.sha256(text.encode()).hexdigest().startswith(digest)


def test_a_depth_or_a_number_of_levels_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="depth: expected one of 18, 34, 50, 101, 152, got 20"):
        ResNet(20)
    with pytest.raises(ValueError, match="levels: expected 2 or more, got 1"):
        UNet(2, levels=1)
