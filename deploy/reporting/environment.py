"""Where and when a report was made."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from deploy.reporting.contents import Environment


def environment(tools: Mapping[str, str]) -> Environment:
    """This machine, now.

    Args:
        tools: versions of what made the bundle.
    """
    return Environment(
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        system=platform.platform(),
        processor=_processor(),
        cores=os.cpu_count() or 0,
        python=platform.python_version(),
        tools=dict(tools),
    )


def _processor() -> str:
    """Its name where the system tells one, else its kind."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(errors="replace").splitlines() if listed.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
