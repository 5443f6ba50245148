"""A stream gives what calls give, in their order, with no more under way than was asked for."""

from __future__ import annotations

import threading
from pathlib import Path
from threading import Barrier, Event

import numpy as np
import pytest

from backends.contract import DeployError, Dynamic, TensorSpec
from deploy.runtime import EngineError, ImageError, Pipeline
from deploy.runtime.execution.streaming import stream
from deploy.runtime.results.matching import match_detections
from deploy.runtime.vision.batching import batch_size, in_batches, padded_batch
from tests.helpers.commands import BACKENDS, output_of

ROOT = Path(__file__).resolve().parents[3]
SCENES = sorted((ROOT / "deploy/models/yolov3/demo/samples").glob("*.png"))


class EngineBrokenError(Exception):
    pass


def gather(found, items):
    """As ``extend``, but what came before an error stays."""
    for item in items:
        found.append(item)


def streams_left() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "stream"]


def test_items_come_in_their_order_through_all_stages():
    stages = [lambda n: n + 1, lambda n: n * 10, str]
    assert list(stream(stages, range(50), 4)) == [str((n + 1) * 10) for n in range(50)]
    assert not streams_left()


def test_all_stages_work_at_once():
    barrier = Barrier(3)
    numbers = {0: range(2, 5), 1: range(1, 4), 2: range(3)}

    def stage(place):
        """Meets the other stages, which have the items beside its own."""

        def work(n):
            if n in numbers[place]:
                barrier.wait(30)
            return n

        return work

    assert list(stream([stage(0), stage(1), stage(2)], range(5), 6)) == list(range(5))


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_no_more_than_depth_items_are_under_way(depth):
    asked = []

    def source():
        for n in range(20):
            asked.append(n)
            yield n

    for taken, _ in enumerate(stream([lambda n: n, lambda n: n], source(), depth)):
        assert len(asked) <= taken + depth


def test_an_error_comes_where_its_item_would_have_and_nothing_behind_it():
    def fragile(n):
        if n == 3:
            raise EngineBrokenError
        return n

    found = []
    with pytest.raises(EngineBrokenError):
        gather(found, stream([fragile, lambda n: n], range(9), 4))
    assert found == [0, 1, 2]
    assert not streams_left()


def test_an_error_of_the_source_comes_behind_the_items_before_it():
    def source():
        yield 1
        yield 2
        raise EngineBrokenError

    found = []
    with pytest.raises(EngineBrokenError):
        gather(found, stream([lambda n: n], source(), 8))
    assert found == [1, 2]


def test_a_consumer_that_leaves_ends_the_threads_and_asks_for_nothing_more():
    asked, done = [], []

    def source():
        for n in range(1000):
            asked.append(n)
            yield n

    items = stream([lambda n: done.append(n) or n], source(), 3)
    next(items)
    items.close()
    assert not streams_left()
    assert len(asked) <= 4
    assert len(done) <= len(asked)


def test_what_is_being_done_when_the_consumer_leaves_is_waited_for():
    begun, ended = Event(), Event()

    def slow(n):
        if n == 1:
            begun.set()
            Event().wait(0.2)
            ended.set()
        return n

    items = stream([slow], range(9), 2)
    next(items)
    begun.wait(30)
    items.close()
    assert ended.is_set()


def spec(first):
    return (TensorSpec("image", "float32", (first, 3, 8, 8)),)


@pytest.mark.parametrize(
    ("first", "asked", "size"),
    [(1, "auto", 1), (4, "auto", 4), (4, 2, 2), (Dynamic("n", 1, 8, 16), "auto", 8),
     (Dynamic("n", 1, 8, 16), 16, 16), (Dynamic("n", 4, 8, 16, 4), 12, 12)],
)  # fmt: skip
def test_a_batch_is_what_the_bundle_was_made_for(first, asked, size):
    assert batch_size(spec(first), asked) == size


@pytest.mark.parametrize(("first", "asked"), [(1, 2), (Dynamic("n", 2, 8, 16), 17), (4, 0)])
def test_another_batch_is_refused(first, asked):
    with pytest.raises(DeployError, match=r"batch: expected \d to \d+, as the bundle was made"):
        batch_size(spec(first), asked)


def test_a_batch_between_two_steps_is_refused():
    with pytest.raises(DeployError, match="batch: expected 4 to 16 in steps of 4, as the bundle"):
        batch_size(spec(Dynamic("n", 4, 8, 16, 4)), 6)


@pytest.mark.parametrize(
    ("first", "count", "padded"),
    [(4, 1, 4), (Dynamic("n", 2, 8, 16), 1, 2), (Dynamic("n", 2, 8, 16), 5, 5),
     (Dynamic("n", 4, 8, 16, 4), 5, 8)],
)  # fmt: skip
def test_a_short_batch_is_padded_to_one_that_the_bundle_takes(first, count, padded):
    assert padded_batch(spec(first), count) == padded


def test_the_last_batch_may_be_shorter():
    assert list(in_batches("abcde", 2)) == [["a", "b"], ["c", "d"], ["e"]]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.labels, other.labels)


@pytest.fixture(scope="module")
def staged_pipeline(tmp_path_factory):
    """Three engines, of which each takes one to eight pictures at once, usually three."""
    bundle = tmp_path_factory.mktemp("stream") / "bundle"
    words = ["+model=yolov3", "+partition=by_stage", f"+backend={BACKENDS[0]}", "bench.runs=0"]
    words += ["model.dynamic={batch: [1, 3, 8]}", "verify.images=1", f"bundle={bundle}"]
    output_of("deploy", *words, cwd=bundle.parent)
    with Pipeline.open(bundle, threads=1) as opened:
        yield opened


def test_a_stream_finds_what_calls_find(staged_pipeline):
    expected = [staged_pipeline(scene) for scene in SCENES]
    assert_same(list(staged_pipeline.stream(SCENES)), expected)
    assert_same(list(staged_pipeline.stream(iter(SCENES), depth=1)), expected)
    assert sum(map(len, expected)) > len(SCENES)


def test_a_stream_takes_a_folder_a_pattern_and_opened_files(staged_pipeline):
    expected = [staged_pipeline(scene) for scene in SCENES]
    assert_same(list(staged_pipeline.stream(SCENES[0].parent)), expected)
    assert_same(list(staged_pipeline.stream(f"{SCENES[0].parent}/*.png")), expected)

    def opened():
        for scene in SCENES:
            with scene.open("rb") as file:
                yield file

    assert_same(list(staged_pipeline.stream(opened())), expected)
    assert_same(list(staged_pipeline.stream(scene.read_bytes() for scene in SCENES)), expected)


@pytest.mark.parametrize("batch", ["auto", 2, 8])
def test_pictures_in_batches_are_found_as_if_they_were_alone(staged_pipeline, batch):
    found = list(staged_pipeline.stream(SCENES, batch=batch))
    assert len(found) == len(SCENES)
    for scene, one in zip(SCENES, found, strict=True):
        alone = staged_pipeline(scene)
        sure = alone.above(0.3)
        assert match_detections(sure, one, 0.95).matched == len(sure) > 0


def test_a_file_that_is_no_picture_ends_the_stream_in_its_place(staged_pipeline, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    found = []
    with pytest.raises(ImageError, match=r"bad\.png' is not a picture"):
        gather(found, staged_pipeline.stream([*SCENES[:2], tmp_path / "bad.png", *SCENES]))
    assert_same(found, [staged_pipeline(scene) for scene in SCENES[:2]])
    assert not streams_left()


def test_a_step_that_fails_is_named_and_the_pipeline_stays_usable(staged_pipeline, monkeypatch):
    expected = staged_pipeline(SCENES[0])

    def broken(runner, inputs):
        raise EngineError("it broke")

    first, runner = staged_pipeline.chain.steps[0]
    monkeypatch.setattr(type(runner), "__call__", broken)
    with pytest.raises(EngineError, match=f"step '{first.name}': it broke"):
        list(staged_pipeline.stream(SCENES))
    monkeypatch.undo()
    assert_same([staged_pipeline(SCENES[0])], [expected])


@pytest.mark.parametrize("depth", [0, -1])
def test_a_stream_without_room_is_refused_at_once(staged_pipeline, depth):
    with pytest.raises(DeployError, match=f"depth: expected 1 or more, got {depth}"):
        staged_pipeline.stream(SCENES, depth=depth)


def test_a_batch_that_the_bundle_does_not_take_is_refused_at_once(staged_pipeline):
    with pytest.raises(DeployError, match=r"batch: expected 1 to 8, as .* got 9"):
        staged_pipeline.stream(SCENES, batch=9)
