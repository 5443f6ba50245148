"""A bundle's files are compared with its manifest, and again where their state is another one."""

import os
import shutil
import time

import pytest

from deploy.runtime import Pipeline, pipeline
from deploy.runtime.bundle import integrity
from deploy.runtime.bundle.manifest import BundleError

LONG_AGO = 10**18  # in 2001


@pytest.fixture
def whole_bundle(make_bundle, tmp_path, monkeypatch):
    """A bundle of this user's own, in whose cache nothing else is known."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return make_bundle()


def engine_file(bundle):
    (file,) = bundle.rglob("factor.txt")
    return file


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that were hashed, in order."""
    names = []
    hash_file = integrity.hash_file

    def counted(path):
        names.append(path.name)
        return hash_file(path)

    monkeypatch.setattr(integrity, "hash_file", counted)
    return names


@pytest.fixture
def settled(monkeypatch):
    """A clock by which what is written now was written long ago."""
    time_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: time_ns() + 10**10)


def opened(bundle, **how):
    with Pipeline.open(bundle, **how):
        pass


def test_files_are_hashed_when_a_bundle_is_first_opened_and_not_again(
    whole_bundle, hashed, settled
):
    opened(whole_bundle)
    assert hashed
    hashed.clear()
    opened(whole_bundle)
    assert not hashed


def test_a_file_of_the_same_size_and_time_that_was_written_again_is_refused(
    whole_bundle, hashed, settled
):
    file = engine_file(whole_bundle)
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    opened(whole_bundle)
    time.sleep(0.05)  # a step of the system's clock
    file.write_text("3.0" if file.read_text() != "3.0" else "4.0")
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    with pytest.raises(BundleError, match=r"factor\.txt' was changed: expected SHA-256"):
        opened(whole_bundle)


def test_a_bundle_that_was_written_a_moment_ago_is_hashed_each_time(whole_bundle, hashed):
    opened(whole_bundle)
    first = [*hashed]
    opened(whole_bundle)
    assert hashed == [*first, *first]


def test_a_link_in_the_place_of_a_file_that_was_verified_is_refused(
    whole_bundle, tmp_path, settled
):
    file = engine_file(whole_bundle)
    opened(whole_bundle)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="is a symbolic link, not a regular file"):
        opened(whole_bundle)


def test_a_file_whose_hash_the_manifest_gives_otherwise_is_hashed(whole_bundle, hashed, settled):
    opened(whole_bundle)
    hashed.clear()
    manifest = whole_bundle / "manifest.json"
    sha256 = integrity.hash_file(engine_file(whole_bundle)).sha256
    manifest.write_text(manifest.read_text().replace(sha256, "0" * 64))
    with pytest.raises(BundleError, match="was changed: expected SHA-256 0000"):
        opened(whole_bundle, trusted=True)
    assert hashed


def test_a_bundle_of_somebody_else_is_hashed_before_it_is_tried(
    whole_bundle, hashed, settled, tmp_path, monkeypatch
):
    opened(whole_bundle)
    hashed.clear()
    shutil.rmtree(tmp_path / "cache" / "backend-chain" / "own")
    hashed_before_trial = []
    monkeypatch.setattr(pipeline, "_check_known_elsewhere", lambda manifest: None)
    monkeypatch.setattr(pipeline, "try_first", lambda *_: hashed_before_trial.extend(hashed))
    opened(whole_bundle, isolate="never")
    assert hashed_before_trial
