"""Whether the libraries of the desk are installed, without importing any of them."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from backends.contract import install_hint


def require_desk() -> None:
    """End with one line where the libraries of the desk are not installed."""
    missing = [name for name in ("hydra", "torch", "onnx_ir") if find_spec(name) is None]
    if missing:
        sys.exit(
            f"error: this is the desk, and it lacks {', '.join(missing)}. {install_hint('desk')} "
            "(On a device: python -m deploy.runtime)"
        )
