"""``python -m deploy.inspect``: what there is to cut, or one line where this is no desk."""

from __future__ import annotations

from deploy.desk import require_desk


def main() -> None:
    """Hand over to the command line of the desk."""
    require_desk()
    from deploy.inspection.command import main as desk

    desk()


if __name__ == "__main__":
    main()
