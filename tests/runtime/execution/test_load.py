"""One pipeline under load: many threads, odd inputs, numbers that are none, engines that fail."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from PIL import Image

from backends import registry
from backends.contract import Artifact, DeployError, Dynamic, EngineError, TensorError, TensorSpec
from deploy.models.mask_rcnn.host import HOST_STEPS
from deploy.models.mask_rcnn.post import MaskPost
from deploy.models.yolov3.anchors import ANCHORS
from deploy.models.yolov3.post import YoloBoxes, YoloPost
from deploy.runtime import ImageError, Pipeline
from deploy.runtime.bundle.manifest import HostStep
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.host_steps import HostRunner, HostStepError
from deploy.runtime.vision.detections import Detections
from deploy.runtime.vision.image import Placement, load_image
from tests.helpers.commands import BACKENDS, output_of
from tests.helpers.graphs import kernel, save

ROOT = Path(__file__).parents[3]
SCENES = sorted((ROOT / "deploy" / "models" / "yolov3" / "demo" / "samples").glob("*.png"))
CPU = [backend for backend in ("onnxruntime", "ncnn") if backend in BACKENDS]
THREADS = 8
SHAPE = (1, 3, 8, 12)
HERE = Placement(1, 1, 320, 320)


@pytest.fixture(scope="module")
def digits_bundles(tmp_path_factory) -> dict[str, Path]:
    """The demo's digit finder for each engine of a CPU."""
    folder = tmp_path_factory.mktemp("load")
    words = ["-m", "+model=yolov3", f"+backend={','.join(CPU)}", "bench.runs=0"]
    output_of("deploy", *words, cwd=folder)
    (sweep,) = (folder / "multirun").iterdir()
    return {backend: sweep / str(number) / "bundle" for number, backend in enumerate(CPU)}


@pytest.fixture(scope="module", params=CPU)
def digits_bundle(request, digits_bundles) -> Path:
    return digits_bundles[request.param]


@pytest.fixture(scope="module")
def digits_pipeline(digits_bundle) -> Iterator[Pipeline]:
    with Pipeline.open(digits_bundle, threads=1) as opened:
        yield opened


def scene(number: int) -> np.ndarray:
    """A picture that is no other number's."""
    picture = load_image(SCENES[number % len(SCENES)])
    return picture[number // len(SCENES) * 7 :, number * 5 :]


def at_once(work: Callable[[int], object]) -> list:
    """What ``work(number)`` gives in each of eight threads that begin together."""
    barrier = threading.Barrier(THREADS)

    def begin(number: int) -> object:
        barrier.wait(60)
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


def bits(found: Detections | dict[str, np.ndarray]) -> list[bytes]:
    """What is compared when every bit counts."""
    if isinstance(found, dict):
        return [found[name].tobytes() for name in sorted(found)]
    return [found.boxes.tobytes(), found.scores.tobytes(), found.labels.tobytes()]


def bare(found: Detections) -> list[list[float]]:
    """Boxes, scores and labels as rows."""
    return [[*row["box"], row["score"], row["label"]] for row in found.to_json()]


def is_finite(found: Detections) -> bool:
    return bool(np.isfinite(found.boxes).all() and np.isfinite(found.scores).all())


def noise(seed: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)}


def spec(name: str) -> TensorSpec:
    return TensorSpec(name, "float32", SHAPE)


def conv(name: str, source: str, target: str, folder: Path, backend: str) -> tuple[Artifact, Any]:
    """A converted and loaded convolution."""
    nodes = [
        helper.make_node("Conv", [source, "w"], ["sums"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["sums"], [target]),
    ]
    folder.mkdir()
    shapes = {source: [*SHAPE]}, {target: [*SHAPE]}
    segment = save(folder / f"{name}.onnx", nodes, *shapes, {"w": kernel(3, 3, 3, 3) / 4})
    options = registry.options_type(backend)()
    artifact = registry.converter(backend)(segment, options, folder)
    return artifact, registry.loader(backend)(artifact, folder)


def halve(inputs):
    return {"b": inputs["a"] / np.float32(2)}


class Flaky:
    """A runner, or the code of a host step, that fails in the threads that it is told."""

    def __init__(self, runner) -> None:
        self.runner = runner
        self.error: Exception | None = None
        self.threads: set[int] | None = None

    @contextmanager
    def failing(self, error: Exception, threads: set[int] | None = None):
        self.error, self.threads = error, threads
        try:
            yield
        finally:
            self.error = None

    def __call__(self, inputs):
        if self.error and (self.threads is None or threading.get_ident() in self.threads):
            raise self.error
        return self.runner(inputs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.runner.__exit__()


@pytest.fixture(scope="module")
def multi_step_chain(tmp_path_factory) -> Iterator[tuple[Chain, dict[str, Flaky]]]:
    """A chain: segment, host step, two segments, on a CPU's engines in turns; and what may fail."""
    folder = tmp_path_factory.mktemp("several")
    places = [("first", "x", "a"), ("second", "b", "c"), ("third", "c", "y")]
    engines = (CPU * 3)[:3]
    loaded = [
        conv(*place, folder / place[0], backend)
        for place, backend in zip(places, engines, strict=True)
    ]
    parts = {step.name: Flaky(runner) for step, runner in loaded} | {"halve": Flaky(halve)}
    host = HostStep("halve", "test.halve", (spec("a"),), (spec("b"),))
    first, second, third = [(step, parts[step.name]) for step, _ in loaded]
    steps = [first, (host, HostRunner(host, parts["halve"])), second, third]
    with Chain(steps, (spec("x"),), (spec("a"), spec("y"))) as chain:
        yield chain, parts


# Threads


@pytest.fixture(scope="module")
def default_threads_pipeline(digits_bundle) -> Iterator[Pipeline]:
    """As many threads for each call as the engine likes."""
    with Pipeline.open(digits_bundle) as opened:
        yield opened


def test_eight_threads_find_in_their_pictures_what_one_finds(default_threads_pipeline):
    wanted = [bits(default_threads_pipeline(scene(number))) for number in range(THREADS)]
    assert len({found[0] for found in wanted}) == THREADS
    found = at_once(
        lambda number: [bits(default_threads_pipeline(scene(number))) for _ in range(4)]
    )
    assert found == [[each] * 4 for each in wanted]


def test_eight_threads_get_the_tensors_that_one_gets(default_threads_pipeline):
    inputs = [default_threads_pipeline.prepare(scene(number))[0] for number in range(THREADS)]
    wanted = [bits(default_threads_pipeline.chain(each)) for each in inputs]
    found = at_once(
        lambda number: [bits(default_threads_pipeline.chain(inputs[number])) for _ in range(4)]
    )
    assert found == [[each] * 4 for each in wanted]


def test_eight_threads_share_a_chain_of_several_segments(multi_step_chain):
    chain, _ = multi_step_chain
    wanted = [bits(chain(noise(number))) for number in range(THREADS)]
    found = at_once(lambda number: [bits(chain(noise(number))) for _ in range(50)])
    assert found == [[each] * 50 for each in wanted]


# Memory and handles

MEASURED = """
import ctypes, gc, json, sys
from pathlib import Path
from deploy.runtime import Pipeline
from deploy.runtime.vision.image import load_image

def measure():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kib = {line.split()[0]: int(line.split()[1]) for line in lines}
    handles, threads = (len(list(Path("/proc/self", name).iterdir())) for name in ("fd", "task"))
    print(json.dumps({"rss": kib["Rss:"], "handles": handles, "threads": threads}))

bundle, file = sys.argv[1:]
scene = load_image(file)
"""
CALLS = """
with Pipeline.open(bundle, threads=1) as pipeline:
    for number in range(250):
        pipeline(file if number % 10 == 0 else scene[number:, : 20 + number])
        if number % 50 == 49:
            measure()
"""
OPENINGS = """
for number in range(55):
    with Pipeline.open(bundle, threads=1) as pipeline:
        pipeline(scene)
    del pipeline
    if number % 10 == 4:
        measure()
"""
CLOSINGS = """
from collections import Counter
from threading import Barrier, Thread
from deploy.runtime import DeployError

told = Counter()

def call_until_it_is_closed(pipeline, barrier):
    for turn in range(10_000):
        try:
            pipeline(scene)
        except DeployError as error:
            told[f"{type(error).__name__}: {error}"] += 1
            return
        if turn == 0:
            barrier.wait(60)

for _ in range(5):
    barrier = Barrier(9)
    with Pipeline.open(bundle, threads=1) as pipeline:
        asked = pipeline, barrier
        threads = [Thread(target=call_until_it_is_closed, args=asked) for _ in range(8)]
        for thread in threads:
            thread.start()
        barrier.wait(60)  # each has called once, and is about to call again
    for thread in threads:
        thread.join()
print(json.dumps(told))
"""
CLOSED = "the chain is closed. Call it inside its 'with' block."


def child(code: str, bundle: Path) -> list[dict[str, int]]:
    """The lines of JSON that a process prints, in which malloc keeps nothing of what is freed."""
    command = [sys.executable, "-c", MEASURED + code, str(bundle), str(SCENES[0])]
    eager = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    ended = subprocess.run(
        command, env=os.environ | eager, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def grown(samples: list[dict[str, int]], figure: str) -> int:
    return samples[-1][figure] - samples[0][figure]


def test_hundreds_of_calls_take_no_memory_and_no_handles(digits_bundle):
    """Less than 4 MiB in 200 calls, of which each makes an input tensor of 1.2 MiB alone."""
    samples = child(CALLS, digits_bundle)
    assert len(samples) == 5
    assert {(sample["handles"], sample["threads"]) for sample in samples} == {
        (samples[0]["handles"], samples[0]["threads"])
    }
    assert grown(samples, "rss") < 4 << 10, samples


def test_opening_and_closing_leaves_nothing(digits_bundle):
    """Less than 16 MiB in 50 times: that is what the weights of one take."""
    samples = child(OPENINGS, digits_bundle)
    assert len(samples) == 6
    assert {sample["handles"] for sample in samples} == {samples[0]["handles"]}
    assert grown(samples, "threads") <= 0
    assert grown(samples, "rss") < 16 << 10, samples


@pytest.mark.parametrize(
    ("step", "handles", "good"),
    [(0, 7, True), (31, 7, True), (33, 7, False), (-33, 7, False), (0, 8, False)],
)
def test_the_soak_tells_what_grows_from_what_does_not(step, handles, good, capsys):
    judged = runpy.run_path(str(ROOT / "scripts" / "soak"))["judged"]
    samples = [
        dict.fromkeys(("rss", "pss", "uss"), 1000 + number * step)
        | {"pictures": 500 * number, "handles": 7}
        for number in range(21)
    ]
    samples[7]["handles"] = handles
    assert judged(samples) == good
    assert f"rss {2 * step:+.1f}" in capsys.readouterr().out


# Closing


def test_a_pipeline_that_is_closed_says_so_in_every_thread(digits_bundle):
    with Pipeline.open(digits_bundle) as pipeline:
        pipeline(scene(0))

    def refusal(number: int) -> str:
        with pytest.raises(EngineError, match="the chain is closed") as caught:
            pipeline(scene(number))
        return str(caught.value)

    assert at_once(refusal) == [CLOSED] * THREADS


def test_closing_while_others_call_is_an_error_for_them_and_not_the_end_of_the_process(
    digits_bundle,
):
    assert child(CLOSINGS, digits_bundle) == [{f"EngineError: {CLOSED}": 5 * 8}]


class Slow:
    """A runner whose first call takes until it is told."""

    def __init__(self) -> None:
        self.begun, self.goes_on, self.closed = (threading.Event() for _ in range(3))

    def __call__(self, inputs):
        if not self.begun.is_set():
            self.begun.set()
            assert self.goes_on.wait(60) and not self.closed.is_set()
        return {"y": inputs["x"]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed.set()


def test_closing_waits_for_a_call_that_has_begun_and_refuses_those_that_have_not():
    slow = Slow()
    step = Artifact("slow", "none", (), (spec("x"),), (spec("y"),))
    chain = Chain([(step, slow)], (spec("x"),), (spec("y"),))
    with ThreadPoolExecutor(2) as pool, chain:
        call = pool.submit(chain, noise(0))
        assert slow.begun.wait(60)
        closing = pool.submit(chain.__exit__)
        with pytest.raises(EngineError, match="the chain is closed"):
            for _ in range(10_000):
                chain(noise(0))
                time.sleep(0.001)
        assert not slow.closed.is_set() and not closing.done()
        slow.goes_on.set()
        closing.result(60)
        assert slow.closed.is_set()
        assert bits(call.result()) == [noise(0)["x"].tobytes()]


# Tensors

REFUSED = {
    "float64": (lambda x: x.astype("f8"), r"float64\[1, 3, 8, 12\]"),
    "float16": (lambda x: x.astype("f2"), r"float16\[1, 3, 8, 12\]"),
    "whole numbers": (lambda x: x.astype("u1"), r"uint8\[1, 3, 8, 12\]"),
    "truth values": (lambda x: x > 0, r"bool\[1, 3, 8, 12\]"),
    "complex numbers": (lambda x: x.astype("c8"), r"complex64\[1, 3, 8, 12\]"),
    "objects": (lambda x: x.astype(object), r"object\[1, 3, 8, 12\]"),
    "text": (lambda x: x.astype("U4"), r"<U4\[1, 3, 8, 12\]"),
    "big-endian": (lambda x: x.astype(">f4"), r">f4\[1, 3, 8, 12\]"),
    "rank three": (lambda x: x[0], r"float32\[3, 8, 12\]"),
    "rank five": (lambda x: x[None], r"float32\[1, 1, 3, 8, 12\]"),
    "a scalar": (lambda x: x[0, 0, 0, 0], r"float32\[\]"),
    "channels last": (lambda x: x.transpose(0, 2, 3, 1), r"float32\[1, 8, 12, 3\]"),
    "another size": (lambda x: x[..., 1:], r"float32\[1, 3, 8, 11\]"),
    "two rows": (lambda x: np.repeat(x, 2, 0), r"float32\[2, 3, 8, 12\]"),
    "no rows": (lambda x: x[:0], r"float32\[0, 3, 8, 12\]"),
    "no columns": (lambda x: x[..., :0], r"float32\[1, 3, 8, 0\]"),
}


def unaligned(x: np.ndarray) -> np.ndarray:
    odd = np.empty(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    odd[:] = x
    return odd


def locked(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


TAKEN = {
    "every second column": lambda x: np.repeat(x, 2, 3)[..., ::2],
    "turned": lambda x: np.ascontiguousarray(x.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1),
    "backwards": lambda x: np.ascontiguousarray(x[:, :, ::-1, ::-1])[:, :, ::-1, ::-1],
    "columns first": np.asfortranarray,
    "one plane for all channels": lambda x: np.broadcast_to(x[:, :1], x.shape),
    "read-only": locked,
    "not aligned": unaligned,
}


@pytest.fixture(scope="module", params=BACKENDS)
def one_segment_chain(request, tmp_path_factory) -> Iterator[Chain]:
    """A chain of one segment."""
    folder = tmp_path_factory.mktemp("door") / request.param
    with Chain([conv("only", "x", "y", folder, request.param)], (spec("x"),), (spec("y"),)) as one:
        yield one


@pytest.mark.parametrize("odd", REFUSED)
def test_another_dtype_rank_or_layout_is_refused_by_the_tensors_name(one_segment_chain, odd):
    make, got = REFUSED[odd]
    wanted = bits(one_segment_chain(noise(0)))
    message = rf"^input 'x': expected float32\[1, 3, 8, 12\], got {got}$"
    with pytest.raises(TensorError, match=message):
        one_segment_chain({"x": make(noise(0)["x"])})
    assert bits(one_segment_chain(noise(0))) == wanted


@pytest.mark.parametrize("odd", TAKEN)
def test_an_array_that_lies_oddly_in_memory_is_as_its_plain_copy_and_stays_as_it_is(
    one_segment_chain, odd
):
    array = TAKEN[odd](noise(0)["x"])
    plain = np.array(array, order="C")
    assert bits(one_segment_chain({"x": array})) == bits(one_segment_chain({"x": plain}))
    assert array.tobytes() == plain.tobytes()


def test_a_chain_changes_none_of_its_inputs(multi_step_chain):
    chain, _ = multi_step_chain
    given = noise(0)
    chain(given)
    assert bits(given) == bits(noise(0))


# Pictures

SCENE = load_image(SCENES[0])
PICTURES = {
    "every second pixel": SCENE[::2, ::2],
    "upside down": SCENE[::-1],
    "turned": SCENE.transpose(1, 0, 2),
    "blue first": SCENE[:, :, ::-1],
    "a part of it": SCENE[13:200, 7:101],
    "read-only": locked(SCENE),
    "one pixel": SCENE[:1, :1],
    "one row": SCENE[:1],
    "one column": SCENE[:, :1],
    "very wide": np.tile(SCENE[:2], (1, 40, 1)),
    "very tall": np.tile(SCENE[:, :2], (40, 1, 1)),
    "grey": SCENE[:, :, 1],
    "grey with an axis": SCENE[:, :, 1:2],
    "with transparency": np.dstack((SCENE, SCENE[:, :, 0])),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_an_array_of_any_size_and_layout_is_a_picture_and_stays_as_it_is(digits_pipeline, kind):
    picture = PICTURES[kind]
    plain = np.array(picture, order="C")
    found = digits_pipeline(picture)
    assert is_finite(found) and bits(found) == bits(digits_pipeline(plain))
    assert picture.tobytes() == plain.tobytes()


def test_grey_is_as_its_repetition(digits_pipeline):
    grey = SCENE[:, :, 1]
    wanted = bits(digits_pipeline(np.dstack((grey, grey, grey))))
    assert bits(digits_pipeline(grey)) == bits(digits_pipeline(grey[:, :, None])) == wanted


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (SCENE.astype(np.float32), r"float32\[480, 640, 3\]"),
        (SCENE.astype(np.int8), r"int8\[480, 640, 3\]"),
        (SCENE.astype(np.uint16), r"uint16\[480, 640, 3\]"),
        (SCENE > 99, r"bool\[480, 640, 3\]"),
        (SCENE.astype(object), r"object\[480, 640, 3\]"),
        (SCENE.transpose(2, 0, 1), r"uint8\[3, 480, 640\]"),
        (SCENE[None], r"uint8\[1, 480, 640, 3\]"),
        (SCENE[0, :, 0], r"uint8\[640\]"),
        (np.array(7, np.uint8), r"uint8\[\]"),
        (SCENE[:, :, :2], r"uint8\[480, 640, 2\]"),
        (SCENE[:, :0], r"uint8\[480, 0, 3\]"),
    ],
)
def test_another_array_is_refused_and_the_pipeline_stays_usable(digits_pipeline, array, got):
    wanted = bits(digits_pipeline(SCENE))
    with pytest.raises(
        ImageError, match=rf"^picture array: expected uint8 of shape .*, got {got}$"
    ):
        digits_pipeline(array)
    assert bits(digits_pipeline(SCENE)) == wanted


def cut_short() -> Image.Image:
    """A picture of Pillow's whose pixels are not read yet, and not all there."""
    return Image.open(BytesIO(SCENES[0].read_bytes()[:4000]))


def closed() -> Image.Image:
    image = Image.new("RGB", (4, 4))
    image.close()
    return image


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (cut_short, "cannot be decoded: image file is truncated"),
        (closed, "cannot be decoded: Operation on closed image"),
        (lambda: Image.new("RGB", (0, 5)), "picture: expected pixels, got 0 x 5"),
        (lambda: "a" * 5000, "cannot be decoded: .*File name too long"),
    ],
)
def test_what_pillow_cannot_decode_is_one_error_also_where_it_comes_from_pillow(make, message):
    with pytest.raises(ImageError, match=message):
        load_image(make())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("error")
def test_a_float_that_is_not_finite_is_a_black_pixel_and_changes_no_other(value):
    floats = np.full((2, 3), 200, np.float32)
    floats[1, 2] = value
    loaded = load_image(Image.fromarray(floats))[:, :, 0]
    assert loaded.tolist() == [[200, 200, 200], [200, 200, 0]]


# Numbers that are none

ODD = np.array([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e20, 40, -40], np.float32)


def spoiled(array: np.ndarray, seed: int, share: float = 0.02) -> np.ndarray:
    """A copy of which some numbers are NaN, infinite or very large."""
    rng = np.random.default_rng(seed)
    array = array.copy()
    where = rng.random(array.shape) < share
    array[where] = rng.choice(ODD, where.sum())
    return array


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("error")
def test_inputs_that_are_not_finite_go_through_the_engines_and_leave_no_odd_detection(
    digits_pipeline, value
):
    (image,) = digits_pipeline.prepare(SCENE)[0].values()
    image[0, :, 100:110, 100:110] = value
    assert is_finite(digits_pipeline.finish(digits_pipeline.chain({"image": image}), HERE))
    image[:] = value
    assert is_finite(digits_pipeline.finish(digits_pipeline.chain({"image": image}), HERE))
    assert (
        bits(digits_pipeline(SCENE)) == bits(digits_pipeline(SCENE))
        and len(digits_pipeline(SCENE)) > 0
    )


@pytest.mark.filterwarnings("error")
def test_whatever_the_engines_give_detections_are_finite(digits_pipeline):
    maps = digits_pipeline.chain(digits_pipeline.prepare(SCENE)[0])
    for seed in range(30):
        odd = {name: spoiled(array, seed) for name, array in maps.items()}
        assert is_finite(digits_pipeline.finish(odd, Placement(0.01, 0.5, 640, 32_000)))


def quiet(*things: tuple[int, int]) -> list[np.ndarray]:
    """Maps of 32 x 32 pixels and two classes, of the first class in these cells of the finest."""
    maps = [np.full((1, 3 * 7, side, side), -30, np.float32) for side in (1, 2, 4)]
    for y, x in things:
        maps[2].reshape(3, 7, 4, 4)[0, :6, y, x] = (0, 0, 0, 0, 5, 5)
    return maps


@pytest.mark.parametrize("attribute", range(6), ids=["x", "y", "w", "h", "objectness", "class"])
@pytest.mark.filterwarnings("error")
def test_a_candidate_with_a_nan_is_dropped_and_no_other(attribute):
    post = YoloPost("darknet53", 2)
    maps = quiet((0, 0), (3, 3))
    assert len(post(maps)) == 2
    maps[2].reshape(3, 7, 4, 4)[0, attribute, 0, 0] = np.nan
    assert bits(post(maps)) == bits(post(quiet((3, 3))))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", range(3), ids=["box", "score", "objectness"])
@pytest.mark.filterwarnings("error")
def test_a_box_decoded_in_the_engine_that_is_not_finite_is_dropped_and_no_other(part, value):
    boxes = np.array([[[0, 0, 10, 10], [40, 40, 50, 60]]], np.float32)
    decoded = [boxes, np.full((1, 2, 1), 0.9, np.float32), np.full((1, 2), 0.8, np.float32)]
    post = YoloBoxes(1)
    assert len(post.batch(decoded)[0]) == 2
    decoded[part][0, 0] = value
    (found,) = post.batch(decoded)
    assert found.boxes.tolist() == [[40, 40, 50, 60]]


@pytest.mark.parametrize("corner", range(4))
@pytest.mark.filterwarnings("error")
def test_one_corner_that_is_infinite_is_enough(corner):
    boxes = np.array([[[0, 0, 10, 10]]], np.float32)
    boxes[0, 0, corner] = np.inf if corner > 1 else -np.inf
    (found,) = YoloBoxes(1).batch([boxes, np.ones((1, 1, 1), "f4"), np.ones((1, 1), "f4")])
    assert len(found) == 0


@pytest.mark.filterwarnings("error")
def test_boxes_as_large_as_float32_holds_are_no_error():
    side = np.float32(3.4e38)
    boxes = np.array([[[-side, -side, side, side], [0, 0, side, 9], [0, 0, side, 9]]], np.float32)
    ones = np.ones((1, 3), np.float32)
    (found,) = YoloBoxes(1).batch([boxes, ones[..., None], ones])
    assert is_finite(found.placed(Placement(0.1, 0.1, 320, 320)))


def masked() -> list[np.ndarray]:
    """Logits, boxes, scores and labels of three things side by side."""
    rng = np.random.default_rng(0)
    boxes = np.array([[0, 0, 40, 40], [50, 0, 90, 40], [100, 0, 140, 40]], np.float32)
    logits = rng.standard_normal((3, 2, 28, 28)).astype(np.float32)
    return [logits, boxes, np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 1, 0])]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", [1, 2], ids=["box", "score"])
@pytest.mark.filterwarnings("error")
def test_with_what_is_dropped_goes_its_mask(part, value):
    (plain,) = MaskPost().batch(masked())
    tensors = masked()
    tensors[part][1] = value
    (found,) = MaskPost().batch(tensors)
    found, wanted = found.placed(HERE), plain.placed(HERE).take(np.array([0, 2]))
    assert bits(found) == bits(wanted)
    np.testing.assert_array_equal(found.masks.dense(), wanted.masks.dense())


@pytest.mark.filterwarnings("error")
def test_a_pixel_whose_logit_is_a_nan_is_not_of_the_mask_and_no_other_changes():
    tensors, low = masked(), masked()
    tensors[0][0, 0, 3:5, 4] = np.nan
    low[0][0, 0, 3:5, 4] = -80
    found, wanted = (MaskPost().batch(each)[0].placed(HERE) for each in (tensors, low))
    np.testing.assert_array_equal(found.masks.dense(), wanted.masks.dense())
    assert found.masks[0].any()


@pytest.mark.filterwarnings("error")
def test_whatever_a_post_gives_what_is_not_finite_is_dropped():
    boxes = np.array([[0, 0, 9, 9], [0, 0, np.inf, 9], [0, 0, 3e38, 9], [1, 1, 8, 8]], np.float32)
    scores = np.array([np.nan, 0.9, 0.8, 0.7], np.float32)
    found = Detections(boxes, scores, np.arange(4)).placed(Placement(0.5, 0.5, 640, 640))
    assert bare(found) == [[2, 2, 16, 16, pytest.approx(0.7), 3]]


def regions() -> dict[str, np.ndarray]:
    """What the steps of Mask R-CNN take, for a picture of 64 x 64 pixels and three classes."""
    rng = np.random.default_rng(0)
    sides = [64 // stride for stride in (4, 8, 16, 32, 64)]
    shapes = {f"rpn_cls.{level}": (1, 3, side, side) for level, side in enumerate(sides)}
    shapes |= {f"rpn_reg.{level}": (1, 12, side, side) for level, side in enumerate(sides)}
    shapes |= {f"feats.{level}": (1, 4, side, side) for level, side in enumerate(sides[:4])}
    shapes |= {"cls_score": (20, 4), "bbox_pred": (20, 12)}
    given = {name: rng.standard_normal(shape).astype("f4") for name, shape in shapes.items()}
    corners = rng.uniform(0, 30, (20, 2)).astype("f4")
    ends = corners + rng.uniform(1, 30, (20, 2)).astype("f4")
    return given | {"rois": np.hstack((np.zeros((20, 1), "f4"), corners, ends))}


STEPS = {
    "mask_rcnn.proposals": ({"height": 64, "width": 64}, {"rois": 5}),
    "mask_rcnn.detections": ({"height": 64, "width": 64}, {"boxes": 4, "mask_rois": 5}),
    "mask_rcnn.roi_align": ({"size": 7}, {"roi_feats": None}),
}


@pytest.mark.parametrize("id", STEPS)
def test_a_host_step_gives_what_is_finite_or_one_error(id):
    params, columns = STEPS[id]
    rows = Dynamic("rows", 0, 10, 1000)
    outputs = tuple(
        TensorSpec(name, "float32", (rows, width) if width else (rows, 4, 7, 7))
        for name, width in columns.items()
    )
    runner = HostRunner(HostStep("odd", id, (), outputs), HOST_STEPS[id](**params))
    assert all(np.isfinite(array).all() for array in runner(regions()).values())
    for seed in range(60):
        given = {name: spoiled(array, seed) for name, array in regions().items()}
        given["rois"] = regions()["rois"]
        with np.errstate(all="ignore"), suppress(HostStepError):
            assert all(np.isfinite(array).all() for array in runner(given).values())


# Nothing, ties, and boxes beyond the picture


@pytest.mark.parametrize("value", [0, 90, 255])
def test_a_blank_picture_has_nothing_in_it(digits_pipeline, value):
    found = digits_pipeline(np.full((240, 320, 3), value, np.uint8)).above(0.3)
    assert (found.boxes.shape, found.to_json()) == ((0, 4), [])


@pytest.mark.parametrize(
    "limits",
    [{"score_thr": 1.0}, {"conf_thr": 1.0}, {"nms_pre": 0}, {"max_per_img": 0}],
    ids=str,
)
def test_limits_that_nothing_passes_leave_nothing(digits_pipeline, limits):
    maps = digits_pipeline.chain(digits_pipeline.prepare(SCENE)[0])
    given = {"backbone": "darknet53", "num_classes": 10}
    strict = Pipeline(digits_pipeline.manifest, digits_pipeline.chain, YoloPost(**given, **limits))
    assert len(digits_pipeline.finish(maps, HERE)) > 0
    assert len(strict.finish(maps, HERE)) == len(strict(SCENE)) == 0


def test_rows_of_a_batch_without_anything_are_empty_and_the_others_as_if_alone():
    rows = [quiet(), quiet((1, 2)), quiet(), quiet((0, 0), (3, 3))]
    post = YoloPost("darknet53", 2)
    found = post.batch([np.concatenate(level) for level in zip(*rows, strict=True)])
    assert [len(one) for one in found] == [0, 1, 0, 2]
    assert [bits(one) for one in found] == [bits(post(row)) for row in rows]


def test_no_rows_are_no_detections():
    assert YoloPost("darknet53", 2).batch([level[:0] for level in quiet()]) == []


def test_equal_scores_go_by_level_row_column_anchor_and_class():
    maps = [np.zeros_like(level) for level in quiet()]
    post = YoloPost("darknet53", 2, iou_thr=1.0, max_per_img=1000)
    found = post(maps)
    assert len(set(found.scores.tolist())) == 1
    places = [
        (half, (x + 0.5) * stride, (y + 0.5) * stride, label)
        for stride, side, level in zip((32, 16, 8), (1, 2, 4), ANCHORS["darknet53"], strict=True)
        for y, x, half, label in product(range(side), range(side), level, range(2))
    ]
    assert found.labels.tolist() == [place[3] for place in places]
    centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    np.testing.assert_allclose(centres, [place[1:3] for place in places], atol=1e-3)
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    np.testing.assert_allclose(sides, [place[0] for place in places], rtol=1e-4)
    assert bits(found) == bits(post(maps))


def test_equal_scores_of_regions_go_by_region_and_class():
    rois = np.array([[0, left, 0, left + 10, 10] for left in (60, 0, 30)], np.float32)
    logits = np.tile(np.array([3, 3, 0], np.float32), (3, 1))
    deltas = np.zeros((3, 8), np.float32)
    found = HOST_STEPS["mask_rcnn.detections"](100, 100)(
        {"rois": rois, "cls_score": logits, "bbox_pred": deltas}
    )
    assert found["boxes"][:, 0].tolist() == [60, 60, 0, 0, 30, 30]
    assert found["labels"].tolist() == [0, 1] * 3


def test_boxes_without_masks_are_not_clipped_to_the_picture():
    maps = quiet((0, 0), (3, 3))
    maps[2].reshape(3, 7, 4, 4)[0, 2:4] = 3  # twenty times the anchor's size
    found = YoloPost("darknet53", 2, iou_thr=1.0)(maps).placed(Placement(1, 1, 32, 32))
    assert found.boxes.min() < -50 and found.boxes.max() > 80


def test_boxes_with_masks_are_clipped_and_one_wholly_beyond_has_an_empty_mask():
    logits, boxes, *rest = masked()
    logits[:] = 9
    boxes[0], boxes[1] = (-20, -20, 10, 10), (400, 10, 500, 50)
    (found,) = MaskPost().batch([logits, boxes, *rest])
    found = found.placed(HERE)
    assert found.boxes.tolist() == [[0, 0, 10, 10], [320, 10, 320, 50], [100, 0, 140, 40]]
    assert found.masks.dense().sum((1, 2)).tolist() == [100, 0, 1600]


@pytest.mark.parametrize(
    "box", [[5, 5, 5, 9], [5, 5, 9, 5], [5, 5, 5, 5], [9, 5, 5, 9], [5, 9, 9, 5], [9, 9, 5, 5]]
)
def test_a_box_without_area_is_dropped(box):
    boxes = np.array([[box, [0, 0, 4, 4]]], np.float32)
    ones = np.ones((1, 2), np.float32)
    (found,) = YoloBoxes(1).batch([boxes, ones[..., None], ones])
    assert found.boxes.tolist() == [[0, 0, 4, 4]]


# Failures in the middle

FAILURES = [
    ("first", EngineError("out of memory"), EngineError, "^step 'first': out of memory$"),
    ("third", EngineError("out of memory"), EngineError, "^step 'third': out of memory$"),
    ("second", RuntimeError("boom"), EngineError, "^step 'second': RuntimeError: boom$"),
    ("third", MemoryError(), EngineError, "^step 'third': MemoryError: $"),
    ("halve", KeyError("lost"), HostStepError, "^step 'halve': KeyError: 'lost'$"),
    ("halve", HostStepError("no regions"), HostStepError, "^step 'halve': no regions$"),
]


@pytest.mark.parametrize(("name", "error", "kind", "message"), FAILURES)
def test_a_step_that_fails_is_named_and_the_next_call_is_right(
    multi_step_chain, name, error, kind, message
):
    chain, parts = multi_step_chain
    wanted = bits(chain(noise(0)))
    for _ in range(3):
        with parts[name].failing(error), pytest.raises(kind, match=message) as caught:
            chain(noise(0))
        assert isinstance(caught.value, DeployError) and caught.value.__cause__
        assert bits(chain(noise(0))) == wanted


@pytest.mark.parametrize(("name", "error", "kind", "message"), FAILURES)
def test_the_calls_of_one_thread_may_fail_while_seven_go_on(
    multi_step_chain, name, error, kind, message
):
    chain, parts = multi_step_chain
    wanted = [bits(chain(noise(number))) for number in range(THREADS)]
    sick: set[int] = set()

    def work(number: int) -> list[object]:
        if number == 3:
            sick.add(threading.get_ident())
            for _ in range(20):
                with pytest.raises(kind, match=message):
                    chain(noise(number))
            sick.clear()
        return [bits(chain(noise(number))) for _ in range(20)]

    with parts[name].failing(error, sick):
        assert at_once(work) == [[each] * 20 for each in wanted]
