"""``python -m deploy``: the main job, or one line where the desk is not installed."""

from __future__ import annotations

from deploy.cli.desk import require_desk


def main() -> None:
    """Hand over to the command line of the desk."""
    require_desk()
    from deploy.cli.app import main as desk

    desk()


if __name__ == "__main__":
    main()
