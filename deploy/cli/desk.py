"""Whether this is a desk, asked before anything of it is imported."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from backends.contract import install_hint


def require_desk() -> None:
    """End with one line where the desk's libraries are not installed."""
    missing = [name for name in ("hydra", "torch", "onnx_ir") if find_spec(name) is None]
    if missing:
        sys.exit(
            f"error: this is the desk, and it lacks {', '.join(missing)}. "
            f"{install_hint('desk')}. (On a device: python -m deploy.runtime)"
        )
