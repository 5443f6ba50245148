"""``python -m deploy``, which is ``backend-chain``."""

from __future__ import annotations

from deploy.cli.main import main

if __name__ == "__main__":
    main()
