"""``manifest.json``: written whole, and read as if a stranger had written it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.codec import FormatError, from_json, to_json
from backends.files import file_fault, written_aside
from deploy.runtime.manifest import FORMAT, MANIFEST, BundleError, Manifest
from deploy.runtime.manifest_checks import check_manifest

MOST_BYTES = 16 << 20


def write_manifest(bundle: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into the bundle, in the place of an earlier one as a whole."""
    with written_aside(bundle / MANIFEST) as part:
        part.write_text(json.dumps(to_json(manifest), indent=2) + "\n")


def read_manifest(bundle: Path) -> Manifest:
    """Read and check a bundle's manifest; its files are not looked at.

    Raises:
        BundleError: not a bundle, not this format, or a description that contradicts itself.
    """
    return parse_manifest(manifest_bytes(bundle), str(bundle))


def manifest_bytes(bundle: Path) -> bytes:
    """What ``manifest.json`` holds.

    Raises:
        BundleError: there is none, or it is no regular file of a reasonable size.
    """
    path = bundle / MANIFEST
    if not path.exists():
        raise BundleError(
            f"'{bundle}' is not a bundle", expected=f"a folder with {MANIFEST}", got=_got(bundle)
        )
    if fault := file_fault(bundle, MANIFEST):
        raise BundleError(f"bundle '{bundle}': {MANIFEST} {fault}")
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise BundleError(
            f"bundle '{bundle}': {MANIFEST}", expected=f"at most {MOST_BYTES:,} bytes", got="more"
        )
    return data


def parse_manifest(data: bytes, bundle: str) -> Manifest:
    """A manifest from its bytes.

    Args:
        data: of the file.
        bundle: named in errors.

    Raises:
        BundleError: see ``read_manifest``.
    """
    parsed = _parsed(data, bundle)
    _check_format(bundle, parsed)
    try:
        manifest = from_json(Manifest, parsed, MANIFEST)
        check_manifest(manifest)
    except FormatError as error:
        raise BundleError(f"bundle '{bundle}': {error}") from error
    return manifest


def _got(bundle: Path) -> str:
    return "a folder without" if bundle.is_dir() else "a file" if bundle.exists() else "nothing"


def _parsed(data: bytes, bundle: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(data.decode(), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:  # bad text and bad JSON are ValueErrors too
        raise BundleError(f"bundle '{bundle}': {MANIFEST} is not JSON: {error}") from error
    return parsed if isinstance(parsed, dict) else {}


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of two values under one key readers may take either."""
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key '{twice[:80]}' is there twice")
    return made


def _check_format(bundle: str, data: Mapping[str, Any]) -> None:
    found = data.get("format")
    if not isinstance(found, int) or isinstance(found, bool):
        raise BundleError(f"bundle '{bundle}': {MANIFEST} has no format number")
    if found != FORMAT:
        raise BundleError(
            f"bundle '{bundle}'",
            expected=f"format {FORMAT}",
            got=f"format {str(found)[:20]}",
            do="Update this runtime." if found > FORMAT else "Make the bundle again.",
        )
