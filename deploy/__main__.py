"""``python -m deploy``: the main job, or one line where the desk is not installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Hand over to the command line of the desk."""
    missing = [name for name in ("hydra", "torch", "onnx_ir") if find_spec(name) is None]
    if missing:
        sys.exit(
            f"error: this is the desk, and it lacks {', '.join(missing)}. "
            "Run: pip install 'backend-chain[desk]'. (On a device: python -m deploy.runtime)"
        )
    from deploy.cli import main as desk

    desk()


if __name__ == "__main__":
    main()
