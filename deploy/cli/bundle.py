"""``bundle``: pack, unpack, verify and sign bundles, on the desk or on a device."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from backends.contract import DeployError
from backends.files import PARTIAL
from deploy.runtime.bundle.archive import MOST_GIB, pack, unpack
from deploy.runtime.bundle.integrity import verify_all
from deploy.runtime.bundle.manifest import MANIFEST, SIGNATURE, Manifest, read_manifest
from deploy.runtime.bundle.signing import read_signed, sign


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; exit code 1 where something is wrong, 2 for wrong usage."""
    asked = _parser().parse_args(arguments)
    commands: dict[str, Callable[[argparse.Namespace], None]] = {
        "pack": _pack,
        "unpack": _unpack,
        "verify": _verify,
        "sign": _sign,
    }
    try:
        commands[asked.command](asked)
    except DeployError as error:
        if "DEPLOY_TRACEBACK" in os.environ:
            raise
        sys.exit(f"error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.bundle", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="write a bundle into one file")
    packing.add_argument("bundle", type=Path, metavar="BUNDLE")
    packing.add_argument("archive", type=Path, metavar="ARCHIVE", help="a .tar or .zip")
    unpacking = commands.add_parser("unpack", help="make a bundle of such a file, checking it")
    unpacking.add_argument("archive", type=Path, metavar="ARCHIVE")
    unpacking.add_argument("bundle", type=Path, metavar="BUNDLE", help="a new folder")
    verifying = commands.add_parser("verify", help="compare every byte with the manifest")
    verifying.add_argument("bundle", type=Path, metavar="BUNDLE", help="a bundle or an archive")
    for each in (unpacking, verifying):
        each.add_argument(
            "--most-gib", type=float, default=MOST_GIB, help="of all files (default %(default)s)"
        )
        each.add_argument(
            "--require-signature", type=Path, metavar="PUBKEY", help="refuse what it did not sign"
        )
    signing = commands.add_parser("sign", help="sign the manifest with an Ed25519 key")
    signing.add_argument("bundle", type=Path, metavar="BUNDLE")
    signing.add_argument("key", type=Path, metavar="KEYFILE", help="a private key, PEM or OpenSSH")
    return parser


def _pack(asked: argparse.Namespace) -> None:
    pack(asked.bundle, asked.archive)
    print(f"{asked.archive}: {asked.archive.stat().st_size:,} bytes")


def _unpack(asked: argparse.Namespace) -> None:
    if asked.require_signature is None:
        manifest = unpack(asked.archive, asked.bundle, asked.most_gib)
    else:
        manifest = _signed_archive(asked)
    print(f"{asked.bundle}: {_summary(asked.bundle, manifest)}")


def _signed_archive(asked: argparse.Namespace) -> Manifest:
    """Unpack aside first, so that nothing unsigned gets the name that was asked for."""
    parent = asked.bundle.absolute().parent
    with tempfile.TemporaryDirectory(dir=parent, prefix=PARTIAL) as aside:
        unpacked = Path(aside) / "bundle"
        manifest = unpack(asked.archive, unpacked, asked.most_gib)
        read_signed(unpacked, asked.require_signature)
        unpacked.replace(asked.bundle)
    return manifest


def _verify(asked: argparse.Namespace) -> None:
    if asked.bundle.is_dir():
        _verify_folder(asked.bundle, asked.require_signature)
        return
    with tempfile.TemporaryDirectory() as aside:
        unpacked = Path(aside) / "bundle"
        unpack(asked.bundle, unpacked, asked.most_gib)
        _verify_folder(unpacked, asked.require_signature)


def _verify_folder(bundle: Path, key: Path | None) -> None:
    if key is None:
        manifest = read_manifest(bundle)
        verify_all(bundle, manifest)
    else:
        manifest = read_signed(bundle, key)
    signed = f"signed by '{key}'" if key else _unchecked(bundle)
    print(f"ok  {_summary(bundle, manifest)}, {signed}")


def _sign(asked: argparse.Namespace) -> None:
    verify_all(asked.bundle, read_manifest(asked.bundle))
    sign(asked.bundle, asked.key)
    print(f"{asked.bundle / SIGNATURE}: signs {MANIFEST}")


def _summary(bundle: Path, manifest: Manifest) -> str:
    size = sum(entry.size for entry in manifest.files.values())
    steps = ", ".join(f"{step.name} ({step.backend})" for step in manifest.steps)
    state = f"verification {manifest.verification.status}"
    return f"{manifest.model}: {steps}; {len(manifest.files)} files, {size:,} bytes, {state}"


def _unchecked(bundle: Path) -> str:
    there = (bundle / SIGNATURE).exists()
    return "signature not asked for (--require-signature PUBKEY)" if there else "not signed"


if __name__ == "__main__":
    main()
