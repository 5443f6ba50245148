"""``python -m deploy.blame``: which segment of a bundle breaks it, and which operator."""

from __future__ import annotations

from deploy.blaming.command import main

if __name__ == "__main__":
    main()
