"""Small files that say what is there: written whole, and read as if they could be damaged."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_note(path: Path, content: Mapping[str, Any]) -> None:
    """Write a note; what was written before it is on the disk by then."""
    os.sync()
    part = path.with_name(f".{path.name}")
    part.write_text(json.dumps(content))
    part.replace(path)


def read_note(path: Path) -> Mapping[str, Any]:
    """The content of a note; empty where there is none, or one that is damaged."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
