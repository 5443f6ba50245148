"""Weights by address: cached, checked, and one line where there is no network."""

import hashlib
from pathlib import Path

import pytest

from deploy.export.weights import WeightsError, local_file

URL = "https://localhost:9/model-abc.pth"


@pytest.fixture
def cached(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "backend-chain" / "weights"
    folder.mkdir(parents=True)
    return folder / "model-abc.pth"


def test_a_path_is_taken_as_it_is(tmp_path):
    assert local_file(str(tmp_path / "a.pth"), None) == tmp_path / "a.pth"


def test_a_cached_file_of_the_right_hash_is_used(cached):
    cached.write_bytes(b"weights")
    assert local_file(URL, hashlib.sha256(b"weights").hexdigest()[:8]) == cached


def test_a_cached_file_of_another_hash_is_refused(cached):
    cached.write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"expected SHA-256 a2c3acb8, got .* Delete the file"):
        local_file(URL, "a2c3acb8")


def test_without_a_network_the_way_out_is_one_line(cached):
    with pytest.raises(WeightsError, match=r"cannot download .* Pass model\.weights=FILE\."):
        local_file(URL, "a2c3acb8")
    assert list(cached.parent.iterdir()) == [], "nothing half-written is left"


def test_an_address_without_a_hash_is_refused():
    with pytest.raises(WeightsError, match="to check them against"):
        local_file(URL, None)
