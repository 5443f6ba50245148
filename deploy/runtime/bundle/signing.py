"""Signatures of bundles: Ed25519 over the manifest, which holds the hash of every other file."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Any

from backends.contract import MissingLibraryError, install_hint
from backends.files import atomic_write, file_fault, not_regular
from deploy.runtime.bundle.integrity import verify_all
from deploy.runtime.bundle.manifest import (
    MANIFEST,
    SIGNATURE,
    BundleError,
    Manifest,
    manifest_bytes,
    parse_manifest,
)

_PASSPHRASE = "DEPLOY_KEY_PASSPHRASE"
_SIGNATURE_BYTES = 64
_MOST_KEY_BYTES = 16 << 10
_CONTEXT = b"backend-chain bundle manifest\0"  # domain separation: no signature of other data fits


class SignatureError(BundleError):
    """A bundle that is not signed, or not with this key; or a file that is not a key."""


def sign(bundle: Path, key: Path) -> None:
    """Sign a bundle's manifest as it is; an earlier signature is replaced.

    Args:
        bundle: the bundle.
        key: an Ed25519 private key, as PEM or as OpenSSH writes it. A passphrase is read from the
            environment: ``DEPLOY_KEY_PASSPHRASE``.

    Raises:
        SignatureError: the file is not such a key.
        BundleError: the bundle has no manifest.
        MissingLibraryError: cryptography is not installed.
    """
    signature = private_key(key).sign(_CONTEXT + manifest_bytes(bundle))
    with atomic_write(bundle / SIGNATURE) as part:
        part.write_bytes(base64.b64encode(signature) + b"\n")


def read_signed(bundle: Path, key: Path) -> Manifest:
    """The manifest of a signed bundle, after its signature and every file were verified.

    Args:
        bundle: the bundle.
        key: an Ed25519 public key, as PEM or as OpenSSH writes it.

    Raises:
        SignatureError: not signed, signed with another key, or changed since; or not a key.
        BundleError: a file that was changed, or is not in the manifest.
        MissingLibraryError: cryptography is not installed.
    """
    data = manifest_bytes(bundle)
    _check_signature(bundle, data, key)
    manifest = parse_manifest(data, str(bundle))
    verify_all(bundle, manifest)
    return manifest


def _check_signature(bundle: Path, manifest: bytes, key: Path) -> None:
    public, invalid = _public_key(key), _library().exceptions.InvalidSignature
    try:
        public.verify(_signature(bundle), _CONTEXT + manifest)
    except invalid as error:
        raise SignatureError(
            f"bundle '{bundle}': the signature does not fit {MANIFEST}",
            expected=f"one made with the private half of '{key}'",
            got="another key's, or the manifest was changed",
            do="Do not run it; get it again from who signed it.",
        ) from error


def private_key(path: Path) -> Any:
    """An Ed25519 private key; see ``sign``."""
    library, data = _library(), _key_bytes(path)
    secret = os.environ.get(_PASSPHRASE)
    password = secret.encode() if secret else None
    ssh = data.startswith(b"-----BEGIN OPENSSH")
    load = library.serialization
    reader = load.load_ssh_private_key if ssh else load.load_pem_private_key
    return _read(path, library.private, "private", lambda: reader(data, password))


def _public_key(path: Path) -> Any:
    library, data = _library(), _key_bytes(path)
    load = library.serialization
    reader = load.load_pem_public_key if data.startswith(b"-----") else load.load_ssh_public_key
    return _read(path, library.public, "public", lambda: reader(data))


def _read(path: Path, kind: Any, half: str, reader: Any) -> Any:
    unsupported = _library().exceptions.UnsupportedAlgorithm
    try:
        key = reader()
    except (ValueError, TypeError, unsupported):  # TypeError: a passphrase is missing
        raise SignatureError(  # without the library's words, which may quote the file
            f"key '{path}' is no readable {half} key",
            do=f"If it has a passphrase, put that into {_PASSPHRASE}." if half == "private" else "",
        ) from None
    if not isinstance(key, kind):
        raise SignatureError(
            f"key '{path}'", expected=f"an Ed25519 {half} key", got=type(key).__name__
        )
    return key


def _key_bytes(path: Path) -> bytes:
    """The bytes of a key; several processes of a command may read it, so a pipe will not do."""
    got = not_regular(path)
    if got not in ("", "nothing"):
        raise SignatureError(
            f"key '{path}'",
            expected="a regular file",
            got=got,
            do="Save the key into a file first." if got == "a FIFO" else "",
        )
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_KEY_BYTES + 1)
    except OSError as error:
        raise SignatureError(f"key '{path}' cannot be read: {error.strerror}") from error
    if len(data) > _MOST_KEY_BYTES:
        raise SignatureError(
            f"key '{path}'", expected=f"at most {_MOST_KEY_BYTES:,} bytes", got="more"
        )
    return data


def _signature(bundle: Path) -> bytes:
    if not (bundle / SIGNATURE).exists():
        raise SignatureError(f"bundle '{bundle}'", expected="a signed one", got=f"no {SIGNATURE}")
    if fault := file_fault(bundle, SIGNATURE):
        raise SignatureError(f"bundle '{bundle}': {SIGNATURE} {fault}")
    with (bundle / SIGNATURE).open("rb") as file:
        text = file.read(1000)
    try:
        signature = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        signature = b""
    if len(signature) != _SIGNATURE_BYTES:
        raise SignatureError(
            f"bundle '{bundle}': {SIGNATURE}", expected="an Ed25519 signature", got="something else"
        )
    return signature


class _Library:
    """The parts of cryptography that are used, imported together."""

    def __init__(self) -> None:
        from cryptography import exceptions
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (
            Ed25519PrivateKey,
            Ed25519PublicKey,
        )

        self.exceptions, self.serialization = exceptions, serialization
        self.private, self.public = Ed25519PrivateKey, Ed25519PublicKey


def _library() -> _Library:
    try:
        return _Library()
    except ImportError as error:
        raise MissingLibraryError(
            f"cryptography, which signs bundles, cannot be used here: {error}",
            do=install_hint("sign"),
        ) from error
