"""``bundle``: pack, unpack, verify and sign bundles, on the desk or on a device."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from backends.files import temporary_folder
from deploy.runtime.bundle.archive import MOST_GIB, pack, unpack
from deploy.runtime.bundle.integrity import verify_all
from deploy.runtime.bundle.manifest import MANIFEST, SIGNATURE, Manifest, read_manifest
from deploy.runtime.bundle.signing import read_signed, sign
from deploy.runtime.commands.arguments import add_signature


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    parser.description = "Pack, unpack, verify and sign bundles, on the desk or on a device."
    parser.epilog = "example: %(prog)s pack bundles/yolov3 yolov3.zip"
    actions = parser.add_subparsers(
        dest="action",
        required=True,
        metavar="ACTION",
        help="what to do; ACTION --help explains its arguments",
    )
    packing = actions.add_parser("pack", help="write a bundle into one file")
    packing.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder of the bundle")
    packing.add_argument("archive", type=Path, metavar="ARCHIVE", help="a .tar or .zip")
    unpacking = actions.add_parser("unpack", help="unpack such a file, and check every byte")
    unpacking.add_argument("archive", type=Path, metavar="ARCHIVE", help="a .tar or .zip")
    unpacking.add_argument("bundle", type=Path, metavar="BUNDLE", help="a new folder")
    verifying = actions.add_parser("verify", help="compare every byte with the manifest")
    verifying.add_argument("bundle", type=Path, metavar="BUNDLE", help="a bundle or an archive")
    for action in (unpacking, verifying):
        action.add_argument(
            "--most-gib",
            type=float,
            default=MOST_GIB,
            metavar="GIB",
            help="refuse an archive with more, unpacked (default: %(default)s)",
        )
        add_signature(action)
    signing = actions.add_parser("sign", help="sign the manifest with an Ed25519 key")
    signing.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder of the bundle")
    signing.add_argument("key", type=Path, metavar="KEYFILE", help="a private key, PEM or OpenSSH")


def run(arguments: argparse.Namespace) -> bool:
    """Carry out the action.

    Raises:
        BundleError: the bundle or archive is damaged, not signed, or cannot be written.
    """
    actions: dict[str, Callable[[argparse.Namespace], None]] = {
        "pack": _pack,
        "unpack": _unpack,
        "verify": _verify,
        "sign": _sign,
    }
    actions[arguments.action](arguments)
    return True


def _pack(arguments: argparse.Namespace) -> None:
    pack(arguments.bundle, arguments.archive)
    print(f"{arguments.archive}: {arguments.archive.stat().st_size:,} bytes")


def _unpack(arguments: argparse.Namespace) -> None:
    if arguments.require_signature is None:
        manifest = unpack(arguments.archive, arguments.bundle, arguments.most_gib)
    else:
        manifest = _signed_archive(arguments)
    print(f"{arguments.bundle}: {_summary(arguments.bundle, manifest)}")


def _signed_archive(arguments: argparse.Namespace) -> Manifest:
    """Unpack aside first, so that nothing unsigned gets the name that was arguments for."""
    parent = arguments.bundle.absolute().parent
    with temporary_folder(parent) as aside:
        unpacked = aside / "bundle"
        manifest = unpack(arguments.archive, unpacked, arguments.most_gib)
        read_signed(unpacked, arguments.require_signature)
        unpacked.replace(arguments.bundle)
    return manifest


def _verify(arguments: argparse.Namespace) -> None:
    if arguments.bundle.is_dir():
        _verify_folder(arguments.bundle, arguments.require_signature)
        return
    with temporary_folder() as aside:
        unpacked = aside / "bundle"
        unpack(arguments.bundle, unpacked, arguments.most_gib)
        _verify_folder(unpacked, arguments.require_signature)


def _verify_folder(bundle: Path, key: Path | None) -> None:
    if key is None:
        manifest = read_manifest(bundle)
        verify_all(bundle, manifest)
    else:
        manifest = read_signed(bundle, key)
    signed = f"signed by '{key}'" if key else _unchecked(bundle)
    print(f"ok  {_summary(bundle, manifest)}, {signed}")


def _sign(arguments: argparse.Namespace) -> None:
    verify_all(arguments.bundle, read_manifest(arguments.bundle))
    sign(arguments.bundle, arguments.key)
    print(f"{arguments.bundle / SIGNATURE}: signs {MANIFEST}")


def _summary(bundle: Path, manifest: Manifest) -> str:
    size = sum(entry.size for entry in manifest.files.values())
    steps = ", ".join(f"{step.name} ({step.backend})" for step in manifest.steps)
    state = f"verification {manifest.verification.status}"
    return f"{manifest.model}: {steps}; {len(manifest.files)} files, {size:,} bytes, {state}"


def _unchecked(bundle: Path) -> str:
    there = (bundle / SIGNATURE).exists()
    return "signature not arguments for (--require-signature PUBKEY)" if there else "not signed"
