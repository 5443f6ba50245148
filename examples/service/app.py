"""A web service in plain ASGI: POST the bytes of a picture, get its detections as JSON."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deploy.runtime import DeployError, ImageError, Pipeline

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BUNDLE = os.environ.get("BUNDLE", "../digits")
LARGEST = 16 << 20  # bytes of a request
AT_ONCE = 2  # pictures; all threads share one Pipeline


class App:
    """The application: opens the bundle when the server starts, closes it when it ends."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Called by the server, once for its lifetime and once for each request."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            status, answer = await self._answer(scope, receive)
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            pipeline = Pipeline.open(BUNDLE)
        except DeployError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        with pipeline as self._pipeline, ThreadPoolExecutor(AT_ONCE) as self._threads:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Message, receive: Receive) -> tuple[int, Any]:
        if scope["method"] != "POST":
            return 405, {"error": "POST a picture"}
        body = await _body(receive)
        if len(body) > LARGEST:
            return 413, {"error": f"more than {LARGEST} bytes"}
        try:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._threads, self._pipeline, body)
        except ImageError as error:  # its text holds nothing of the picture
            return 400, {"error": str(error)}
        return 200, {found.noun: found.above(0.3).to_json(self._pipeline.classes)}


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while len(body) <= LARGEST:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return bytes(body)


app = App()
