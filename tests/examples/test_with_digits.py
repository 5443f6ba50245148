"""The examples around the digit detector do what their READMEs say."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import pytest

from deploy.runtime.bundle.manifest import read_manifest
from tests.helpers.readme_blocks import run_blocks

STAND_INS = Path(__file__).parent / "stand_ins"
DIGITS = set("0123456789")


@pytest.mark.slow
def test_the_video_is_drawn_frame_by_frame(examples_with_digits):
    folder = examples_with_digits / "video"
    run_blocks(folder)
    rows = json.loads((folder / "frames.json").read_text())
    assert [row["frame"] for row in rows] == list(range(40))
    assert all(row["detections"][0]["class"] in DIGITS for row in rows)
    with av.open(str(folder / "drawn.mp4")) as drawn:
        frames = list(drawn.decode(video=0))
    assert [(frame.width, frame.height) for frame in frames] == [(320, 320)] * 40
    check_tracking(folder)


def check_tracking(folder: Path) -> None:
    """Tracking, with stand-ins for two packages that are not installed."""
    assert "\n    python track.py\n" in (folder / "README.md").read_text()
    path = os.pathsep.join([str(STAND_INS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "track.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 40 and lines[39].startswith("clip.mp4, frame 39 (1.560 s) ")
    assert all(word[0] in DIGITS for word in lines[39].split(") ")[1].split())


def load_app(folder: Path) -> ModuleType:
    """The module ``app``, as a server imports it."""
    spec = importlib.util.spec_from_file_location("app", folder / "app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Server:
    """As much of an ASGI server as calls an application."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def __aenter__(self) -> Server:
        life = self._app({"type": "lifespan"}, self._events.get, self._answers.put)
        self._life = asyncio.create_task(life)
        self.started = await self._said("startup")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.started["type"].endswith("complete"):
            assert (await self._said("shutdown"))["type"] == "lifespan.shutdown.complete"
        await self._life

    async def _said(self, event: str) -> dict[str, Any]:
        await self._events.put({"type": f"lifespan.{event}"})
        return await self._answers.get()

    async def request(self, method: str, *parts: bytes) -> tuple[int, Any]:
        """Status and JSON of the answer to a body in these parts."""
        bodies = [
            {"type": "http.request", "body": part, "more_body": number < len(parts)}
            for number, part in enumerate(parts, start=1)
        ]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return bodies.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self._app({"type": "http", "method": method}, receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.slow
def test_the_service_answers_pictures_and_refuses_other_requests(examples_with_digits, monkeypatch):
    folder = examples_with_digits / "service"
    assert "\n    uvicorn app:app\n" in (folder / "README.md").read_text()
    monkeypatch.chdir(folder)
    picture = (folder / "../digits/sample/image.png").read_bytes()
    secret = b"no picture, but a user's letter"

    async def answers() -> list[tuple[int, Any]]:
        async with Server(load_app(folder).app) as server:
            both = [server.request("POST", picture[:500], picture[500:]) for _ in range(2)]
            alone = [
                await server.request("POST", secret),
                await server.request("POST", picture[: len(picture) // 2]),
                await server.request("POST", b""),
                await server.request("POST", *[b"\0" * (1 << 20)] * 20),
                await server.request("GET", b""),
            ]
            return [*await asyncio.gather(*both), *alone]

    first, second, *refused = asyncio.run(answers())
    assert first == second and first[0] == 200
    assert len(first[1]["detections"]) >= 5
    assert {row["class"] for row in first[1]["detections"]} <= DIGITS
    assert [status for status, _ in refused] == [400, 400, 400, 413, 405]
    assert "letter" not in str(refused)


@pytest.mark.slow
def test_a_service_without_its_bundle_does_not_start(examples, monkeypatch):
    monkeypatch.setenv("BUNDLE", "nowhere")

    async def started() -> dict[str, Any]:
        async with Server(load_app(examples / "service").app) as server:
            return server.started

    answer = asyncio.run(started())
    assert answer["type"] == "lifespan.startup.failed" and "'nowhere'" in answer["message"]


@pytest.mark.slow
def test_a_folder_with_a_broken_picture_becomes_json_lines(examples_with_digits):
    folder = examples_with_digits / "batch_folder"
    run_blocks(folder)
    rows = [json.loads(line) for line in (folder / "found.jsonl").read_text().splitlines()]
    assert [row["image"] for row in rows] == [f"photos/{number:03}.jpg" for number in range(24)]
    assert all(row["detections"] for row in rows)
    assert len((folder / "all.jsonl").read_text().splitlines()) == 24


@pytest.mark.slow
def test_two_engines_and_a_host_step_are_one_bundle(examples_with_digits, monkeypatch):
    folder = examples_with_digits / "two_engines"
    site = folder / "site"  # where pip puts the package, instead of this environment
    for name, value in {
        "TARGET": str(site),
        "NO_INDEX": "1",
        "NO_DEPS": "1",
        "NO_BUILD_ISOLATION": "0",  # as --no-build-isolation: the builder is installed
    }.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.syspath_prepend(str(site))
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)  # of the process that measures
    run_blocks(folder)
    manifest = read_manifest(folder / "strongest")
    assert [(step.name, step.backend) for step in manifest.steps] == [
        ("backbone", "ncnn"),
        ("head", "onnxruntime"),
    ]
    assert [step.id for step in manifest.host] == ["my.strongest"]
    (row,) = json.loads((folder / "found.json").read_text())
    assert {part["class"] for part in row["classes"]} == {"ant", "bee", "cow"}


@pytest.mark.slow
def test_a_checkpoint_of_mmdetection_is_the_same_detector(examples_with_digits):
    folder = examples_with_digits / "mmdetection_checkpoint"
    run_blocks(folder)
    (row,) = json.loads((folder / "found.json").read_text())
    confident = [box["class"] for box in row["detections"] if box["score"] > 0.5]
    assert len(confident) >= 5 and set(confident) <= DIGITS
