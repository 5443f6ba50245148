"""The corpus of each kind: ``python -m tests.fuzzing.seeds KIND FOLDER`` writes it."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.fuzzing.trees import Seed, read, write

_ROOT = Path(__file__).resolve().parents[2]
_ENTRIES = {"image": "picture.bin", "archive": "bundle.bin"}
_FORMATS = {"gnu": tarfile.GNU_FORMAT, "ustar": tarfile.USTAR_FORMAT}


def corpus(kind: str, folder: Path) -> list[Seed]:
    """The seeds of a kind, made in a process of their own where they are not there yet."""
    place = folder / kind
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            _made(kind, Path(aside) / kind)
            (Path(aside) / kind).rename(place)
    return [_seed(kind, one) for one in sorted(place.iterdir())]


def _made(kind: str, place: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzzing.seeds", kind, str(place)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if made.returncode:
        raise RuntimeError(f"the corpus of {kind} cannot be made:\n{made.stderr[-4000:]}")


def _seed(kind: str, folder: Path) -> Seed:
    tree = read(folder)
    entry = next(iter(tree)) if kind == "weights" else _ENTRIES.get(kind, "")
    return Seed(folder.name, entry, tree)


def _onnx(folder: Path) -> None:
    from tests.fuzzing.seed_bundles import tiny_engine
    from tests.fuzzing.seed_models import NAMES

    for name in NAMES:
        tiny_engine(folder / name, name)


def _ncnn(folder: Path) -> None:
    from tests.fuzzing.seed_bundles import ncnn_engine

    for name in ("conv", "decode", "no_batch"):
        ncnn_engine(folder / name, name)


def _bundles(folder: Path) -> None:
    from tests.fuzzing.seed_bundles import detector, two_engines, writer

    for make in (detector, writer, two_engines):
        make(folder / make.__name__)


def _archives(folder: Path) -> None:
    from deploy.runtime.bundle.archive import pack

    with tempfile.TemporaryDirectory() as scratch:
        bundles = Path(scratch)
        _bundles(bundles)
        for bundle in sorted(bundles.iterdir()):
            for ending in (".tar", ".zip"):
                place = folder / f"{bundle.name}-{ending[1:]}"
                place.mkdir(parents=True)
                packed = bundles / f"packed{ending}"
                pack(bundle, packed)
                packed.rename(place / "bundle.bin")
        for name, kind in _FORMATS.items():
            _tar(bundles / "writer", folder / f"writer-{name}", kind)
        _stored_zip(bundles / "writer", folder / "writer-stored")


def _tar(bundle: Path, place: Path, kind: int) -> None:
    place.mkdir()
    with tarfile.open(place / "bundle.bin", "w", format=kind) as archive:
        for name in read(bundle):
            archive.add(bundle / name, name, filter=_timeless)


def _timeless(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.mtime = info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


def _stored_zip(bundle: Path, place: Path) -> None:
    place.mkdir()
    with zipfile.ZipFile(place / "bundle.bin", "w") as archive:
        for name, node in read(bundle).items():
            archive.writestr(zipfile.ZipInfo(name), node.data)


def _pictures(folder: Path) -> None:
    from tests.fuzzing.seed_files import pictures

    pictures(folder)


def _weights(folder: Path) -> None:
    from tests.fuzzing.seed_files import weights

    weights(folder)


def _configurations(folder: Path) -> None:
    from tests.fuzzing.configurations import plain_configuration

    write(plain_configuration(), folder / "plain")


def _caches(folder: Path) -> None:
    from tests.fuzzing.cache_entries import OTHER_SECRET, SECRET, plain_cache

    for name, secret in (("own", SECRET), ("also-own", SECRET), ("somebody-else", OTHER_SECRET)):
        write(plain_cache(secret), folder / name)


_MAKERS: Mapping[str, Callable[[Path], None]] = {
    "onnx": _onnx,
    "ncnn": _ncnn,
    "manifest": _bundles,
    "archive": _archives,
    "image": _pictures,
    "weights": _weights,
    "bundle-run": _bundles,
    "configuration": _configurations,
    "cache": _caches,
}
KINDS = tuple(_MAKERS)


def main() -> None:
    """Write one corpus."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    _MAKERS[kind](folder)


if __name__ == "__main__":
    main()
