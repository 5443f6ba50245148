"""What is put on a device: trees of files, known by their hashes."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backends.contract import DeployError
from deploy.devices.errors import DeviceError
from deploy.devices.hashes import hash_files
from deploy.devices.wheel import PACKAGES
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import (
    MANIFEST,
    SIGNATURE,
    Content,
    read_manifest,
    without_devices,
    write_manifest,
)

_UNNAMED = re.compile(r"[^\w.-]+", re.ASCII)
_NAME = 60  # characters of a tree's name that come from here
_SUFFIXES = {".py", ".pyi", ".typed"}  # of a user's own code


@dataclass(frozen=True)
class Tree:
    """Files that are put into one folder on a device.

    Attributes:
        kind: of the folders of ``on_device``.
        name: of the folder there.
        files: the hash and size of each, by its path there.
        sources: the path of each here.
    """

    kind: str
    name: str
    files: Mapping[str, Content]
    sources: Mapping[str, Path] = field(repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the listing."""
        return hashlib.sha256(json.dumps(self._listing, sort_keys=True).encode()).hexdigest()

    @property
    def label(self) -> Mapping[str, str]:
        """The tree without its files, as the device takes it."""
        return {"kind": self.kind, "name": self.name, "digest": self.digest}

    @property
    def listed(self) -> Mapping[str, Any]:
        """The tree with its files, as the device takes it."""
        return {**self.label, "files": self._listing}

    @property
    def _listing(self) -> Mapping[str, list[str | int]]:
        return {name: [content.sha256, content.size] for name, content in self.files.items()}


def bundle_tree(bundle: Path, folder: Path) -> Tree:
    """A bundle without what devices have measured; its own manifest has the hashes.

    Args:
        bundle: its folder.
        folder: for a manifest without the records; of this run alone.

    Raises:
        BundleError: it is none.
    """
    manifest = read_manifest(bundle)
    files = {name: Content(entry.sha256, entry.size) for name, entry in manifest.files.items()}
    sources = {name: bundle / name for name in files}
    if manifest.devices:
        write_manifest(folder, without_devices(manifest))
        own = {MANIFEST: folder / MANIFEST}
    else:
        names = [name for name in (MANIFEST, SIGNATURE) if (bundle / name).is_file()]
        own = {name: bundle / name for name in names}
    files |= {name: hash_file(path) for name, path in own.items()}
    return Tree("bundles", _name(bundle), files, sources | own)


def data_tree(dataset: Path) -> tuple[Tree, str]:
    """A data set, and its path inside of the tree.

    Args:
        dataset: a folder, or a COCO file with pictures where it says.

    Raises:
        DeviceError: it is not readable.
    """
    try:
        paths = _listed_pictures(dataset) if dataset.is_file() else _files_below(dataset)
        top = Path(os.path.commonpath([dataset.absolute(), *(path.parent for path in paths)]))
        root = top.parent if dataset.is_file() and top == dataset.absolute() else top
        tree = _hashed_tree("data", _name(dataset), root, paths)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DeviceError(
            f"data set '{dataset}' cannot be sent",
            expected="a folder, or a COCO file whose pictures are there",
            got=type(error).__name__,
        ) from error
    return tree, dataset.absolute().relative_to(root).as_posix()


def code_tree(target: str) -> Tree | None:
    """The module of a user's own post-processing step, or the package that it is in.

    Args:
        target: ``module:callable``, with an id and ``=`` before it or without.

    Returns:
        None for a step of this project, which a device has.

    Raises:
        DeviceError: there is no such module.
    """
    module = target.rpartition("=")[2].partition(":")[0]
    top = module.partition(".")[0]
    if top in PACKAGES:
        return None
    try:
        spec = find_spec(top)
    except (ImportError, ValueError) as error:
        raise _no_module(top) from error
    if spec is None or not spec.origin:
        raise _no_module(top)
    origin = Path(spec.origin).absolute()
    if not spec.submodule_search_locations:
        return _hashed_tree("code", _name(origin), origin.parent, [origin])
    paths = [path for path in _files_below(origin.parent) if path.suffix in _SUFFIXES]
    return _hashed_tree("code", _name(origin.parent), origin.parent.parent, paths)


def files_tree(kind: str, name: str, paths: Iterable[Path]) -> Tree:
    """Files that lie side by side on the device.

    Args:
        kind: of the folders of ``on_device``.
        name: of the tree.
        paths: of the files here, with names of their own.
    """
    sources = {path.name: path for path in paths}
    return Tree(kind, name, hash_files(sources), sources)


def _hashed_tree(kind: str, name: str, root: Path, paths: Iterable[Path]) -> Tree:
    sources = {path.relative_to(root).as_posix(): path for path in paths}
    return Tree(kind, name, hash_files(sources), sources)


def _listed_pictures(dataset: Path) -> list[Path]:
    """The file itself, and the pictures that it lists."""
    listed = json.loads(dataset.read_bytes())["images"]
    folder = dataset.absolute().parent
    names = dict.fromkeys(str(picture["file_name"]) for picture in listed)
    return [dataset.absolute(), *(Path(os.path.normpath(folder / name)) for name in names)]


def _files_below(folder: Path) -> list[Path]:
    paths = [path for path in sorted(folder.absolute().rglob("*")) if path.is_file()]
    if not paths:
        raise FileNotFoundError(folder)
    return [path for path in paths if "__pycache__" not in path.parts]


def _name(path: Path) -> str:
    """A name for a folder on the device, of its own for each path here."""
    whole = path.absolute()
    digest = hashlib.sha256(f"{os.uname().nodename}:{whole}".encode(errors="replace")).hexdigest()
    return f"{_UNNAMED.sub('_', whole.name)[:_NAME].lstrip('.-') or '_'}-{digest[:8]}"


def _no_module(name: str) -> DeployError:
    return DeviceError(
        f"the post-processing step's module '{name}' is not found here, so it cannot be sent",
        do="Start the run where it can be imported.",
    )
