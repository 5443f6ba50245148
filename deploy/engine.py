"""A segment in an engine, at once and in this process: for references and measurements."""

from __future__ import annotations

from pathlib import Path

from backends.contract import Runner, Segment
from backends.options import parse_options
from backends.registry import converter, loader, options_type
from deploy.recipe import BackendRecipe


def start(segment: Segment, backend: BackendRecipe, folder: Path) -> Runner:
    """Convert and load a segment.

    Args:
        segment: the segment.
        backend: the engine and its options.
        folder: an existing folder that gets the engine's files.

    Raises:
        OptionError: an option that the backend does not take.
        ConversionError: this backend cannot convert the segment.
        EngineError: what it made does not load.
    """
    options = parse_options(options_type(backend.name), backend.options, backend.name)
    artifact = converter(backend.name)(segment, options, folder)
    return loader(backend.name)(artifact, folder)
