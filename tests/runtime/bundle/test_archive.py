"""A bundle as one file, and files that only look like one."""

from __future__ import annotations

import io
import json
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from deploy.runtime import Pipeline
from deploy.runtime.bundle.archive import pack, unpack
from deploy.runtime.bundle.manifest import MANIFEST, BundleError
from tests.helpers.commands import output_of, run_here

Change = Callable[[tarfile.TarInfo], None]
KINDS = [".tar", ".zip"]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def tar(path: Path, files: Iterable[tuple[tarfile.TarInfo | str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data))
    return path


def zipped(path: Path, files: Iterable[tuple[zipfile.ZipInfo | str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path


@pytest.fixture
def scaler_bundle(make_bundle) -> Path:
    return make_bundle()


@pytest.fixture
def bundle_files(scaler_bundle) -> dict[str, bytes]:
    """The bundle's files, the manifest first."""
    found = contents(scaler_bundle)
    return {MANIFEST: found.pop(MANIFEST), **found}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_survives_packing_and_unpacking(scaler_bundle, tmp_path, kind):
    archive, again = tmp_path / f"b{kind}", tmp_path / "deep" / "again"
    pack(scaler_bundle, archive)
    unpack(archive, again)
    assert contents(again) == contents(scaler_bundle)
    with Pipeline.open(again):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bundle_gives_the_same_bytes(scaler_bundle, tmp_path, kind):
    for name in ("one", "two"):
        pack(scaler_bundle, tmp_path / f"{name}{kind}")
        (scaler_bundle / MANIFEST).touch()
    assert (tmp_path / f"one{kind}").read_bytes() == (tmp_path / f"two{kind}").read_bytes()


def test_a_damaged_bundle_is_not_packed(scaler_bundle, tmp_path):
    (scaler_bundle / "one" / "factor.txt").write_text("9.9")
    with pytest.raises(BundleError, match="was changed"):
        pack(scaler_bundle, tmp_path / "b.tar")
    assert not (tmp_path / "b.tar").exists()


def test_an_archive_has_an_ending_that_says_its_kind(scaler_bundle, tmp_path):
    with pytest.raises(BundleError, match=r"expected a name in \.tar or \.zip, got b\.rar"):
        pack(scaler_bundle, tmp_path / "b.rar")


def refused(archive: Path, message: str) -> None:
    """It is refused, and nothing is there that was not there before."""
    before = sorted(archive.parent.rglob("*"))
    with pytest.raises(BundleError, match=message):
        unpack(archive, archive.parent / "out")
    assert sorted(archive.parent.rglob("*")) == before


@pytest.mark.parametrize(
    "name", ["../escaped", "/escaped", "a/../../escaped", "..\\escaped", "C:/escaped", "x\ny"]
)
@pytest.mark.parametrize("write", [tar, zipped])
def test_nothing_leads_out_of_the_folder(bundle_files, tmp_path, name, write):
    archive = write(tmp_path / "b", [*bundle_files.items(), (name, b"x")])
    refused(archive, "is refused: (not a plain|a path that leads|a character|a name with a zero)")
    assert not (tmp_path / "escaped").exists() and not Path("/escaped").exists()


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE,
     tarfile.DIRTYPE, tarfile.CONTTYPE],
)  # fmt: skip
def test_a_tar_holds_no_links_devices_or_folders(bundle_files, tmp_path, kind):
    info = tarfile.TarInfo("one/more")
    info.type, info.linkname = kind, "../../escaped"
    if kind == tarfile.CONTTYPE:
        # a contiguous file is a plain file to every reader
        refused(
            tar(tmp_path / "b.tar", [*bundle_files.items(), (info, b"")]), "not in the manifest"
        )
        return
    refused(
        tar(tmp_path / "b.tar", [*bundle_files.items(), (info, b"")]), "refused: not a plain file"
    )


def test_a_link_cannot_stand_in_for_a_listed_file(bundle_files, tmp_path):
    info = tarfile.TarInfo("one/factor.txt")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
    rest = [(name, data) for name, data in bundle_files.items() if name != info.name]
    refused(tar(tmp_path / "b.tar", [(info, b""), *rest]), "'one/factor.txt' is refused: not a pla")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFDIR, stat.S_IFCHR])
def test_a_zip_holds_no_links_devices_or_folders(bundle_files, tmp_path, mode):
    info = zipfile.ZipInfo("one/more")
    info.external_attr = (mode | 0o777) << 16
    refused(
        zipped(tmp_path / "b.zip", [*bundle_files.items(), (info, b"/etc")]), "not a plain file"
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("write", [tar, zipped])
@pytest.mark.parametrize("name", [MANIFEST, "one/factor.txt"])
def test_no_file_is_there_twice(bundle_files, tmp_path, name, write):
    archive = write(tmp_path / "b", [*bundle_files.items(), (name, bundle_files[name])])
    refused(archive, "is refused: there twice")


@pytest.mark.parametrize("write", [tar, zipped])
def test_a_file_that_is_not_in_the_manifest_is_refused(bundle_files, tmp_path, write):
    refused(
        write(tmp_path / "b", [*bundle_files.items(), ("more", b"x")]),
        "refused: not in the manifest",
    )


@pytest.mark.parametrize("write", [tar, zipped])
def test_a_file_that_is_missing_or_changed_is_refused(bundle_files, tmp_path, write):
    def without(name: str, *more: bytes) -> Path:
        rest = [(one, data) for one, data in bundle_files.items() if one != name]
        return write(tmp_path / "b", [*rest, *((name, data) for data in more)])

    refused(without("one/factor.txt"), "file 'one/factor.txt' is missing")
    refused(without("one/factor.txt", b"2.00"), "refused: 4 bytes, not 3")
    refused(without("one/factor.txt", b"3.0"), "refused: SHA-256 .*, not that of the manifest")
    refused(without(MANIFEST), "expected a bundle's, with manifest.json, got none")


def test_a_bomb_is_refused_before_it_goes_off(bundle_files, tmp_path):
    data = json.loads(bundle_files[MANIFEST])
    data["files"]["one/factor.txt"]["size"] = 1 << 50
    archive = zipped(
        tmp_path / "b.zip", {**bundle_files, MANIFEST: json.dumps(data).encode()}.items()
    )
    refused(archive, "refused: 3 bytes, not 1125899906842624")
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(MANIFEST, b" " * (17 << 20))
    refused(tmp_path / "c.zip", "'manifest.json' is refused: more than 16,777,216 bytes")


def test_more_than_was_allowed_is_refused(scaler_bundle, tmp_path):
    pack(scaler_bundle, tmp_path / "b.tar")
    with pytest.raises(BundleError, match=r"unpacked: expected at most 107, got more.*--most"):
        unpack(tmp_path / "b.tar", tmp_path / "out", most_gib=1e-7)


def test_a_file_that_goes_on_beyond_its_size_is_refused(bundle_files, tmp_path):
    """A zip says each size twice: the one in the directory is believed, and no byte more."""
    archive = zipped(
        tmp_path / "b.zip", {**bundle_files, "one/factor.txt": b"2.0" + bytes(99)}.items()
    )
    raw = bytearray(archive.read_bytes())
    entry = raw.rindex(b"one/factor.txt") - 46
    raw[entry + 24 : entry + 28] = (3).to_bytes(4, "little")
    archive.write_bytes(raw)
    refused(archive, "(longer than it says|SHA-256|CRC)")


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:700],
        lambda raw: b"",
        lambda raw: b"not an archive at all",
        lambda raw: raw[:100] + bytes(100) + raw[200:],
    ],
)
@pytest.mark.parametrize("write", [tar, zipped])
def test_a_damaged_archive_is_one_error(bundle_files, tmp_path, write, damage):
    archive = write(tmp_path / "b", bundle_files.items())
    archive.write_bytes(damage(archive.read_bytes()))
    refused(archive, "archive '.*'")


def test_a_tar_that_leads_back_comes_to_an_end(bundle_files, tmp_path):
    """A size below zero sends readers backwards, for ever; later versions of Python stop there."""
    archive = tar(tmp_path / "b.tar", [*bundle_files.items(), ("back", b"")])
    raw = bytearray(archive.read_bytes())
    header = raw.index(b"back\0")
    raw[header + 124 : header + 136] = (-(header + 1024)).to_bytes(12, "big", signed=True)
    raw[header + 148 : header + 156] = b" " * 8
    total = sum(raw[header : header + 512])
    raw[header + 148 : header + 156] = f"{total:06o}\0 ".encode()
    archive.write_bytes(raw)
    try:
        unpack(archive, tmp_path / "out")
    except BundleError as error:
        assert re.search("leads back|cannot be unpacked", str(error))
        assert not (tmp_path / "out").exists()
    else:
        assert contents(tmp_path / "out") == bundle_files


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, b"X", b"L", b"K"])
def test_a_tar_has_short_extended_headers(bundle_files, tmp_path, kind):
    """Half a megabyte of digits and spaces took the standard library hours."""
    header = tarfile.TarInfo("pax")
    header.type, header.size = kind, 1 << 19
    path = tar(tmp_path / "b.tar", bundle_files.items())
    block = header.tobuf(tarfile.GNU_FORMAT) + b"1" * (1 << 18) + b" " * (1 << 18)
    path.write_bytes(block + path.read_bytes())
    with pytest.raises(BundleError, match="an extended header of 524,288 bytes: expected at most"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_goes_into_a_new_folder(scaler_bundle, tmp_path):
    pack(scaler_bundle, tmp_path / "b.tar")
    with pytest.raises(BundleError, match="expected a new folder, got one with something in it"):
        unpack(tmp_path / "b.tar", scaler_bundle)
    with pytest.raises(BundleError, match="expected a file, got nothing"):
        unpack(tmp_path / "none.tar", tmp_path / "out")


def test_the_command_packs_verifies_and_unpacks(scaler_bundle, tmp_path):
    assert "bytes" in output_of("deploy", "bundle", "pack", scaler_bundle, "b.zip", cwd=tmp_path)
    for what in ("bundle", "b.zip"):
        printed = output_of("deploy", "bundle", "verify", what, cwd=tmp_path)
        assert printed.startswith("ok  m: one (scaler); 2 files") and "not signed" in printed
    output_of("deploy", "bundle", "unpack", "b.zip", "again", cwd=tmp_path)
    assert contents(tmp_path / "again") == contents(scaler_bundle)


def test_the_command_tells_of_a_changed_or_added_file(scaler_bundle, tmp_path):
    (scaler_bundle / "more").write_text("x")
    ended = run_here("deploy", "bundle", "verify", scaler_bundle, cwd=tmp_path)
    assert ended.returncode == 1
    assert "error: bundle" in ended.stderr and "'more' is not in its manifest" in ended.stderr
