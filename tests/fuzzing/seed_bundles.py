"""Small bundles of every shape: one engine, several, a host step that calls one, a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import parser

from backends.contract import Artifact, Dynamic, Specs, TensorSpec
from backends.ncnn import Options as NcnnOptions
from backends.ncnn.convert import convert as convert_for_ncnn
from deploy.runtime import Pipeline
from deploy.runtime.bundle.integrity import file_entry
from deploy.runtime.bundle.manifest import (
    MANIFEST,
    HostStep,
    Kind,
    Manifest,
    PostStep,
    Verification,
    write_manifest,
)
from deploy.runtime.bundle.sample import DETECTIONS, IMAGE, TENSORS
from deploy.runtime.vision.image import Pre
from tests.fuzzing import seed_models
from tests.fuzzing.seed_files import noise
from tests.helpers import graphs

_HEAD = '<ir_version: 10, opset_import: ["" : 18]>\n'
_KINDS: Mapping[str, Kind] = {"sample": "sample", "picture": "picture"}

MAPS = """maps (float[1,3,32,32] image)
=> (float[1,18,1,1] a, float[1,18,2,2] b, float[1,18,4,4] c) {
    s = ReduceSum <keepdims = 1> (image, axes)
    p = Concat <axis = 1> (s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s)
    a = AveragePool <kernel_shape = [32,32], strides = [32,32]> (p)
    b = AveragePool <kernel_shape = [16,16], strides = [16,16]> (p)
    c = AveragePool <kernel_shape = [8,8], strides = [8,8]> (p)
}"""
ENCODER = "encoder (float[1,3,4] x) => (float[1,3,4] memory) { memory = Tanh (x) }"
DECODER = """decoder (int64[1,1] token, float[p,1,4] past, float[1,3,4] memory)
=> (float[1,4] logits, float[1,1,4] fresh) {
    fresh = ReduceMean <keepdims = 1> (memory, one)
    f = Cast <to = 1> (token)
    g = Reshape (fresh, flat)
    logits = Add (g, f)
    unused = Identity (past)
}"""


def tiny_engine(folder: Path, name: str) -> None:
    """A bundle of one of the ONNX seeds, run by ONNX Runtime."""
    (folder / "net").mkdir(parents=True)
    path, inputs, outputs = seed_models.write_model(name, folder / "net")
    files = [f"net/{one.name}" for one in sorted((folder / "net").iterdir(), reverse=True)]
    files.sort(key=lambda one: one != f"net/{path.name}")
    _seal(folder, [_ort("net", files, inputs, outputs)], inputs, outputs)


def ncnn_engine(folder: Path, name: str) -> None:
    """A bundle of one of the tests' graphs, run by ncnn."""
    step = _for_ncnn(folder, "net", graphs.GRAPHS[name], NcnnOptions(1, fp16=name == "conv"))
    _seal(folder, [step], step.inputs, step.outputs)


def detector(folder: Path) -> None:
    """A picture to detections."""
    model = parser.parse_model(_HEAD + MAPS)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "axes"))
    inputs = (_spec("image", 1, 3, 32, 32),)
    outputs = tuple(_spec(name, 1, 18, size, size) for name, size in (("a", 1), ("b", 2), ("c", 4)))
    step = _save(folder, "maps", model, inputs, outputs)
    (folder / "sample").mkdir()
    noise(20, 24).save(folder / IMAGE)
    (folder / DETECTIONS).write_text("[]")
    post = PostStep("yolov3.maps", ("a", "b", "c"), {"backbone": "darknet53", "num_classes": 1})
    pre = Pre("image", 32, 32, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
    _seal(folder, [step], inputs, outputs, pre=pre, post=post, classes=("thing",))
    with Pipeline.open(folder, trusted=True) as pipeline:
        found = pipeline(folder / IMAGE).to_json(pipeline.classes)
    (folder / DETECTIONS).write_text(json.dumps(found))
    _seal(folder, [step], inputs, outputs, pre=pre, post=post, classes=("thing",))


def writer(folder: Path) -> None:
    """A loop on the host around one of two engines."""
    memory, x = _spec("memory", 1, 3, 4), _spec("x", 1, 3, 4)
    past = TensorSpec("past", "float32", (Dynamic("p", 1, 2, 5), 1, 4))
    token = TensorSpec("token", "int64", (1, 1))
    tokens = TensorSpec("tokens", "int64", (1, Dynamic("written", 1, 3, 5)))
    encoder, decoder = (parser.parse_model(_HEAD + text) for text in (ENCODER, DECODER))
    for name, value in (("one", [1]), ("flat", [1, 4])):
        decoder.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), name))
    given = (_spec("logits", 1, 4), _spec("fresh", 1, 1, 4))
    steps = [
        _save(folder, "encoder", encoder, (x,), (memory,)),
        _save(folder, "decoder", decoder, (token, past, memory), given),
    ]
    params = {"start": 1, "end": 3, "pad": 0, "steps": 4}
    greedy = HostStep("greedy", "seq2seq.greedy", (memory,), (tokens,), params, ("decoder",))
    _seal(folder, steps, (x,), (tokens,), host=(greedy,))


def two_engines(folder: Path) -> None:
    """One backend's output to another's."""
    (folder / "first").mkdir(parents=True)
    path = folder / "first" / "model.onnx"
    segment = graphs.save(
        path, [onnx.helper.make_node("Tanh", ["x"], ["net.image"])],
        {"x": [1, 3, 8, 12]}, {"net.image": [1, 3, 8, 12]}, {},
    )  # fmt: skip
    first = _ort("first", ["first/model.onnx"], segment.inputs, segment.outputs)
    second = _for_ncnn(folder, "second", graphs.conv, NcnnOptions(1))
    other = replace(first, precision="fp16")  # it may lie where the first one does
    _seal(folder, [first, second], first.inputs, second.outputs, alternatives=(other,))


def _spec(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, "float32", shape)


def _ort(name: str, files: Sequence[str], inputs: Specs, outputs: Specs) -> Artifact:
    return Artifact(name, "onnxruntime", tuple(files), inputs, outputs, options={"threads": 1})


def _save(
    folder: Path, name: str, model: onnx.ModelProto, inputs: Specs, outputs: Specs
) -> Artifact:
    (folder / name).mkdir(parents=True)
    onnx.save(model, folder / name / "model.onnx")
    return _ort(name, [f"{name}/model.onnx"], inputs, outputs)


def _for_ncnn(
    folder: Path, name: str, make: Callable[[Path], object], options: NcnnOptions
) -> Artifact:
    (folder / name).mkdir(parents=True)
    source = folder / "source.onnx"
    segment = make(source)
    artifact = convert_for_ncnn(segment, options, folder / name)  # type: ignore[arg-type]
    source.unlink()
    return replace(artifact, name=name, files=tuple(f"{name}/{file}" for file in artifact.files))


def _seal(
    folder: Path, steps: Sequence[Artifact], inputs: Specs, outputs: Specs, **more: object
) -> None:
    """Write the sample and the manifest, twice: the sample is what the bundle itself gives."""
    manifest = Manifest(
        model="fuzzed", classes=(), inputs=inputs, outputs=outputs, steps=tuple(steps), pre=None,
        post=None, sample=None, files={}, tools={"numpy": "2"}, verification=Verification("passed"),
    )  # fmt: skip
    manifest = replace(manifest, **more)  # type: ignore[arg-type]
    write_manifest(folder, replace(manifest, files=_entries(folder)))
    noise = np.random.default_rng(0)
    feed = {spec.name: noise.random(spec.typical).astype(spec.dtype) for spec in inputs}
    with Pipeline.open(folder, trusted=True) as pipeline:
        found = pipeline.chain(feed)
    (folder / TENSORS).parent.mkdir(exist_ok=True)
    arrays = {f"input/{name}": array for name, array in feed.items()}
    np.savez(folder / TENSORS, **arrays, **{f"output/{name}": one for name, one in found.items()})
    write_manifest(folder, replace(manifest, files=_entries(folder), sample=TENSORS))


def _entries(folder: Path) -> dict[str, object]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    names = [path.relative_to(folder).as_posix() for path in paths]
    return {
        name: file_entry(folder / name, _KINDS.get(name.split("/")[0], "engine")) for name in names
    }
