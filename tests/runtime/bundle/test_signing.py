"""A signed bundle is the one that was signed, to the byte."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from deploy.runtime import Pipeline
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import SIGNATURE, BundleError
from deploy.runtime.bundle.signing import SignatureError, sign
from tests.helpers.commands import BACKENDS, error_of, output_of, run_here

PEM, SSH = serialization.Encoding.PEM, serialization.Encoding.OpenSSH
PKCS8, OPENSSH = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.OpenSSH
OPEN = serialization.NoEncryption()


def keys(folder: Path, name: str = "key", kind: str = "pem", secret: bytes = b"") -> list[Path]:
    """The files of a new private key and its public half."""
    key = ed25519.Ed25519PrivateKey.generate()
    lock = serialization.BestAvailableEncryption(secret) if secret else OPEN
    private = key.private_bytes(PEM, OPENSSH if kind == "ssh" else PKCS8, lock)
    info = serialization.PublicFormat
    public = (
        key.public_key().public_bytes(SSH, info.OpenSSH)
        if kind == "ssh"
        else key.public_key().public_bytes(PEM, info.SubjectPublicKeyInfo)
    )
    paths = [folder / f"{name}.{kind}", folder / f"{name}.pub"]
    for path, data in zip(paths, (private, public), strict=True):
        path.write_bytes(data)
    return paths


@pytest.fixture
def signed(make_bundle, tmp_path) -> tuple[Path, Path]:
    """A bundle, and the public key that signed it."""
    private, public = keys(tmp_path)
    bundle = make_bundle()
    sign(bundle, private)
    return bundle, public


@pytest.mark.parametrize("kind", ["pem", "ssh"])
def test_a_signed_bundle_opens_with_its_public_key(make_bundle, tmp_path, kind):
    private, public = keys(tmp_path, kind=kind)
    bundle = make_bundle()
    sign(bundle, private)
    with Pipeline.open(bundle, key=public):
        pass


def test_one_changed_byte_anywhere_is_refused(signed):
    bundle, public = signed
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {
        "manifest.json", SIGNATURE, "factor.txt", "tensors.npz",
    }  # fmt: skip
    for path in files:
        whole = path.read_bytes()
        for place in {0, len(whole) // 2, len(whole) - 2}:
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(BundleError):
                Pipeline.open(bundle, key=public)
        path.write_bytes(whole)
    with Pipeline.open(bundle, key=public):
        pass


def test_an_added_file_is_refused(signed):
    bundle, public = signed
    (bundle / "one" / "more").touch()
    with pytest.raises(BundleError, match="'one/more' is not in its manifest"):
        Pipeline.open(bundle, key=public)


def test_an_unsigned_bundle_is_refused(make_bundle, tmp_path):
    with pytest.raises(SignatureError, match=r"expected a signed one, got no manifest\.sig"):
        Pipeline.open(make_bundle(), key=keys(tmp_path)[1])


def test_a_bundle_that_another_key_signed_is_refused(signed, tmp_path):
    bundle, _ = signed
    message = "the signature does not fit manifest.json: expected one made with the private half"
    with pytest.raises(SignatureError, match=message):
        Pipeline.open(bundle, key=keys(tmp_path, "other")[1])


def test_a_signature_of_another_bundle_does_not_count(signed, tmp_path):
    bundle, public = signed
    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    text = (other / "manifest.json").read_text().replace('"model": "m"', '"model": "n"')
    (other / "manifest.json").write_text(text)
    with pytest.raises(SignatureError, match="does not fit"):
        Pipeline.open(other, key=public)


def test_a_signature_of_an_earlier_version_does_not_fit_the_later_one(signed, tmp_path):
    bundle, public = signed
    earlier = {name: (bundle / name).read_bytes() for name in ("manifest.json", SIGNATURE)}
    (bundle / "one/factor.txt").write_text("3.0")
    manifest = json.loads(earlier["manifest.json"])
    manifest["files"]["one/factor.txt"] |= vars(hash_file(bundle / "one/factor.txt"))
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SignatureError, match="does not fit"):
        Pipeline.open(bundle, key=public)
    sign(bundle, tmp_path / "key.pem")
    with Pipeline.open(bundle, key=public):
        pass
    for name, message in (("manifest.json", "does not fit"), (SIGNATURE, "factor.txt'")):
        (bundle / name).write_bytes(earlier[name])
        with pytest.raises(BundleError, match=message):
            Pipeline.open(bundle, key=public)


def rsa_like(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(PEM, PKCS8, OPEN))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "cannot be read: No such file"),
        (lambda path: path.write_text("hello"), "is no readable private key"),
        (rsa_like, "expected an Ed25519 private key, got"),
        (lambda path: keys(path.parent, "k", secret=b"x"), "put that into DEPLOY_KEY_PASSPHRASE"),
    ],
)
def test_a_key_that_is_none_is_named_and_nothing_is_written(make_bundle, tmp_path, make, message):
    bundle = make_bundle()
    make(tmp_path / "k.pem")
    with pytest.raises(SignatureError, match=message):
        sign(bundle, tmp_path / "k.pem")
    assert not (bundle / SIGNATURE).exists()


def test_a_passphrase_is_read_from_the_environment(make_bundle, tmp_path, monkeypatch):
    private, public = keys(tmp_path, secret=b"open sesame")
    monkeypatch.setenv("DEPLOY_KEY_PASSPHRASE", "open sesame")
    bundle = make_bundle()
    sign(bundle, private)
    with Pipeline.open(bundle, key=public):
        pass


def test_the_command_signs_and_verifies_folders_and_archives(make_bundle, tmp_path):
    private, public = keys(tmp_path)
    bundle = make_bundle()
    assert "signs manifest.json" in output_of(
        "deploy", "bundle", "sign", bundle, private, cwd=tmp_path
    )
    output_of("deploy", "bundle", "pack", bundle, "b.tar", cwd=tmp_path)
    for what in (bundle, "b.tar"):
        printed = output_of(
            "deploy", "bundle", "verify", what, "--require-signature", public, cwd=tmp_path
        )
        assert f"signed by '{public}'" in printed
    output_of(
        "deploy", "bundle", "unpack", "b.tar", "new", "--require-signature", public, cwd=tmp_path
    )
    other = keys(tmp_path, "other")[1]
    for words in (("verify", "b.tar"), ("unpack", "b.tar", "newer")):
        ended = run_here("deploy", "bundle", *words, "--require-signature", other, cwd=tmp_path)
        assert ended.returncode == 1 and "the signature does not fit" in ended.stderr
    assert not (tmp_path / "newer").exists()


def test_a_run_signs_what_it_makes_and_the_device_asks_for_it(tmp_path):
    private, public = keys(tmp_path)
    words = ["+model=yolov3", f"+backend={BACKENDS[0]}", "bundle=b", f"bundle.sign={private}"]
    output_of("deploy", *words, "bench.runs=0", cwd=tmp_path)
    image = tmp_path / "b" / "sample" / "image.png"
    run = ["deploy.runtime", "run", "b", image, "--require-signature"]
    assert "found" in output_of(*run, public, cwd=tmp_path)
    ended = run_here(*run, keys(tmp_path, "other")[1], cwd=tmp_path)
    assert ended.returncode == 1 and "the signature does not fit" in ended.stderr


def test_a_key_that_cannot_sign_is_refused_before_any_work(tmp_path):
    words = ["+model=yolov3", f"+backend={BACKENDS[0]}", "bundle=b", "bundle.sign=none.pem"]
    assert "key 'none.pem' cannot be read" in error_of("deploy", *words, cwd=tmp_path)
