"""Code that configuration files of a case name; nothing else imports it or asks it for anything."""

from __future__ import annotations

import sys

sys.audit("fuzzing.canary", "imported")


def __getattr__(name: str) -> object:
    """Notice who asks for an attribute by its name, as Hydra does before it calls it."""
    if not name.startswith("__"):
        sys.audit("fuzzing.canary", name)
    raise AttributeError(name)
