"""Integrity of a bundle's files: their sizes and hashes, compared with the manifest."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from backends.file_state import are_settled, file_state
from backends.files import file_fault
from backends.user_cache import add_digest, has_digest
from deploy.runtime.bundle.manifest import (
    MANIFEST,
    SIGNATURE,
    BundleError,
    Content,
    FileEntry,
    Kind,
    Manifest,
)

_COPY_AGAIN = "Copy the bundle again."
_VERIFIED = "verified"  # a folder in the user's cache


def hash_file(path: Path) -> Content:
    """The hash and size of a file."""
    with path.open("rb") as file:
        return Content(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


def file_entry(path: Path, kind: Kind) -> FileEntry:
    """A file as a manifest lists it."""
    content = hash_file(path)
    return FileEntry(content.sha256, content.size, kind)


def verify_files(bundle: Path, manifest: Manifest, names: Iterable[str]) -> None:
    """Compare files with the manifest.

    Raises:
        BundleError: a file is missing, no regular file inside the bundle, of another size, or
            changed.
    """
    for name in names:
        entry = manifest.files[name]
        if fault := file_fault(bundle, name):
            raise BundleError(f"bundle '{bundle}': file '{name}' {fault}")
        size = (bundle / name).stat().st_size
        if size != entry.size:
            raise BundleError(
                f"bundle '{bundle}': file '{name}'",
                expected=f"{entry.size} bytes",
                got=str(size),
                do=_COPY_AGAIN,
            )
        digest = hash_file(bundle / name).sha256
        if digest != entry.sha256:
            raise BundleError(
                f"bundle '{bundle}': file '{name}' was changed",
                expected=f"SHA-256 {entry.sha256}",
                got=digest,
                do=_COPY_AGAIN,
            )


@contextmanager
def verified_meanwhile(bundle: Path, manifest: Manifest, names: Sequence[str]) -> Iterator[None]:
    """Compare files with the manifest in a thread, while the block does what needs none of them.

    Files that this user has compared with it before on this machine, and whose state is the same
    since, are not read again.

    Raises:
        BundleError: as of ``verify_files``, at the end of the block, before an error of the block.
    """
    verdict = _verdict(bundle, manifest, names)
    if verdict and has_digest(_VERIFIED, verdict):
        yield
        return
    with _verified_in_thread(bundle, manifest, names):
        yield
    if verdict:
        add_digest(_VERIFIED, verdict)


def _verdict(bundle: Path, manifest: Manifest, names: Sequence[str]) -> str:
    """A digest of what the files should be and of their state; empty where that says too little."""
    if any(file_fault(bundle, name) for name in names):
        return ""
    states = [file_state(bundle / name) for name in names]
    if not are_settled(states):
        return ""
    expected = [manifest.files[name].sha256 for name in names]
    return hashlib.sha256(json.dumps([expected, states]).encode()).hexdigest()


@contextmanager
def _verified_in_thread(bundle: Path, manifest: Manifest, names: Sequence[str]) -> Iterator[None]:
    verified = threading.Event()

    def verify() -> None:
        with suppress(BundleError, OSError):  # raised below
            verify_files(bundle, manifest, names)
            verified.set()

    thread = threading.Thread(target=verify)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        if not verified.is_set():
            verify_files(bundle, manifest, names)


def verify_all(bundle: Path, manifest: Manifest) -> None:
    """Compare every file of the folder with the manifest.

    Raises:
        BundleError: as of ``verify_files``; or a file or folder that the manifest does not list.
    """
    verify_files(bundle, manifest, manifest.files)
    files = {MANIFEST, SIGNATURE, *manifest.files}
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    for path in sorted(bundle.rglob("*")):
        name, is_folder = path.relative_to(bundle).as_posix(), _is_folder(path)
        if name not in (folders if is_folder else files):
            raise BundleError(
                f"bundle '{bundle}': {'folder' if is_folder else 'file'} '{name}' is not in its "
                "manifest",
                do="Remove it.",
            )
    if (bundle / SIGNATURE).exists() and (fault := file_fault(bundle, SIGNATURE)):
        raise BundleError(f"bundle '{bundle}': {SIGNATURE} {fault}")


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
