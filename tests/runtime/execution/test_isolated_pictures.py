"""A detector in a process of its own finds what it finds in this process, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.runtime import DeployError, Pipeline
from deploy.runtime.isolation.proxies import IsolatedChain
from tests.helpers.commands import output_of
from tests.helpers.digit_scenes import scene
from tests.helpers.runtime_chains import as_bytes


@pytest.fixture(scope="module")
def isolated_pipeline(digits_bundle) -> Iterator[Pipeline]:
    with Pipeline.open(digits_bundle, threads=1, isolate="always") as pipeline:
        assert isinstance(pipeline.chain, IsolatedChain)
        yield pipeline


def test_its_detections_are_equal(digits_pipeline, isolated_pipeline):
    for number in range(4):
        expected = digits_pipeline(scene(number))
        assert len(expected) > 3
        assert as_bytes(isolated_pipeline(scene(number))) == as_bytes(expected)


def test_its_tensors_and_what_is_found_in_them_are_equal(digits_pipeline, isolated_pipeline):
    inputs, placement = digits_pipeline.prepare(scene(1))
    outputs = isolated_pipeline.chain(inputs)
    assert as_bytes(outputs) == as_bytes(digits_pipeline.chain(inputs))
    expected = as_bytes(digits_pipeline.finish(outputs, placement))
    assert as_bytes(isolated_pipeline.finish(outputs, placement)) == expected


def test_its_stream_is_equal(digits_pipeline, isolated_pipeline):
    pictures = [scene(number) for number in range(6)]
    streamed = [as_bytes(found) for found in isolated_pipeline.stream(pictures)]
    assert streamed == [as_bytes(digits_pipeline(picture)) for picture in pictures]


def test_a_call_is_measured_in_the_same_parts(digits_pipeline, isolated_pipeline):
    parts: list[list[str]] = []
    for pipeline in (digits_pipeline, isolated_pipeline):
        seconds: dict[str, float] = {}
        pipeline.timed(scene(0), seconds)
        assert all(value >= 0 for value in seconds.values())
        assert sum(seconds.values()) == pytest.approx(2 * seconds["total"], rel=1e-6)
        parts.append(list(seconds))
    assert parts[0] == parts[1]


def test_a_bad_picture_is_refused_here_as_there(digits_pipeline, isolated_pipeline, tmp_path):
    (tmp_path / "none.png").write_bytes(b"none")
    messages = []
    for pipeline in (digits_pipeline, isolated_pipeline):
        with pytest.raises(DeployError, match=r"none\.png") as caught:
            pipeline(tmp_path / "none.png")
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("isolate", ["always", "never"])
def test_the_commands_answer_alike(isolate, digits_bundle, tmp_path):
    picture = digits_bundle / "sample" / "image.png"
    for words in (["run", digits_bundle, picture], ["check", digits_bundle]):
        plain = output_of("deploy.runtime", *words, cwd=tmp_path)
        assert output_of("deploy.runtime", *words, "--isolate", isolate, cwd=tmp_path) == plain
    measured = output_of(
        "deploy.runtime", "bench", digits_bundle, "--runs", 3, "--isolate", isolate, cwd=tmp_path
    )
    assert "total" in measured
