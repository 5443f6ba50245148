"""``backends.command`` is ``backends.convert_cli`` since 0.2; the old name goes in 0.3."""

import warnings

from backends.convert_cli import main as main

warnings.warn(
    "backends.command is now backends.convert_cli; the old name goes in 0.3",
    DeprecationWarning,
    stacklevel=2,
)
