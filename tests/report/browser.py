"""A headless Chromium, spoken to through its own debugging protocol over two pipes.

No driver and no further package: messages are JSON, each ended by a zero byte.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


class Page:
    """One tab; everything that it asks the network for and complains of is kept."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, os.fdopen(read, "rb", buffering=0)
        self._buffer, self._count, self._session = b"", 0, ""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._send(f"{domain}.enable")

    def open(self, file: Path, width: int, scheme: str, **features: str) -> None:
        """Show a file in a window of this width, as a reader with this scheme sees it."""
        self.requests, self.complaints = [], []
        self._send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=800, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        wanted = {"prefers-color-scheme": scheme, **features}
        listed = [{"name": name.replace("_", "-"), "value": is_} for name, is_ in wanted.items()]
        self._send("Emulation.setEmulatedMedia", features=listed)
        self._loaded = False
        self._send("Page.navigate", url=file.resolve().as_uri())
        while not self._loaded:
            self._receive()

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        done = self._send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def picture(self, path: Path, whole: bool = True) -> None:
        """Write a PNG of the page."""
        size = self._send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        area = {"clip": clip, "captureBeyondViewport": True} if whole else {}
        done = self._send("Page.captureScreenshot", format="png", **area)
        path.write_bytes(base64.b64decode(done["data"]))

    def _send(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            got = self._receive()
            if got.get("id") == self._count:
                assert "error" not in got, f"{method}: {got['error']}"
                return dict(got["result"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            more = self._read.read(1 << 20)
            assert more, "the browser has ended"
            self._buffer += more
        one, _, self._buffer = self._buffer.partition(b"\0")
        got: dict[str, Any] = json.loads(one)
        self._note(got.get("method", ""), got.get("params", {}))
        return got

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif event in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.complaints.append(json.dumps(params))


def found_browser() -> str:
    """The browser's program.

    Raises:
        AssertionError: there is none, which no test may take for success.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, f"no browser: none of {', '.join(NAMES)} is installed; run scripts/setup-browser"
    return found


@contextmanager
def browser() -> Iterator[Page]:
    """A browser of its own, without a history, that ends with the block."""
    program = found_browser()
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        # the browser reads what it is told from 3 and answers to 4
        words = [program, *FLAGS, *root, f"--user-data-dir={profile}", "about:blank"]
        plugged = f'exec 3<&{to_read} 4>&{from_write}; exec "$@"'
        with subprocess.Popen(
            ["bash", "-c", plugged, "browser", *words],
            pass_fds=(to_read, from_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            os.close(to_read)
            os.close(from_write)
            try:
                yield Page(to_write, from_read)
            finally:
                os.close(to_write)  # at its end the browser ends too
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
