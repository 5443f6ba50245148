"""The desk's end of the connection: requests come from it, and answers go to it."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Mapping
from typing import Any

from deploy.devices.on_device.faults import LinkLostError

MARK = "@backend-chain@ "
"""Begins each line that is for the desk."""

SILENCE = 180.0
"""Seconds after which a desk that sends nothing is taken for gone."""

_INPUT = 0  # the file


class Desk:
    """The desk's end of the connection."""

    def __init__(self) -> None:
        self._received = b""

    def request(self) -> Mapping[str, Any]:
        """The next request; empty lines are signs of life.

        Raises:
            LinkLostError: the connection has ended.
        """
        while True:
            line, found, rest = self._received.partition(b"\n")
            if not found:
                self.listen(SILENCE)
                continue
            self._received = rest
            if line.strip():
                request: Mapping[str, Any] = json.loads(line)
                return request

    def listen(self, seconds: float) -> None:
        """Receive what comes within some seconds.

        Raises:
            LinkLostError: nothing came, or the connection has ended.
        """
        if not select.select([_INPUT], [], [], seconds)[0]:
            raise LinkLostError
        data = os.read(_INPUT, 1 << 16)
        if not data:
            raise LinkLostError
        self._received += data

    def listen_for(self, seconds: float) -> None:
        """Wait, and receive what comes meanwhile; nothing need come."""
        if select.select([_INPUT], [], [], seconds)[0]:
            self.listen(0)

    def send(self, **message: Any) -> None:
        """Send a marked line."""
        print(MARK + json.dumps(message), flush=True)
