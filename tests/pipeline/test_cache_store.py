"""Results are kept whole or not at all, each is built once, and the oldest go first."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.user_cache import user_secret
from deploy.export.fingerprint import CacheKey
from deploy.pipeline import cache_store as module
from deploy.pipeline.cache_store import CacheStore
from deploy.recipe.schema import RecipeError

MIB = 1 << 20


def key(**parts: object) -> CacheKey:
    return CacheKey("convert", "net for some", parts)


@pytest.fixture
def store(tmp_path) -> CacheStore:
    return CacheStore(tmp_path / "cache", 100 * MIB)


def writer(out: Path, text: str = "weights", calls: list[str] | None = None):
    """A stage that writes two files, one of them in a folder."""

    def build() -> None:
        (out / "deep").mkdir(parents=True)
        (out / "net.txt").write_text(text)
        (out / "deep" / "more.bin").write_bytes(b"\0" * 100)
        if calls is not None:
            calls.append(text)

    return build


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_second_time_nothing_is_built(store, tmp_path):
    calls = []
    kept = [
        store.fill(key(a=1), tmp_path / f"out{n}", writer(tmp_path / f"out{n}", calls=calls))
        for n in range(2)
    ]
    assert (kept, calls) == ([False, True], ["weights"])
    assert content(tmp_path / "out1") == content(tmp_path / "out0")


def test_other_parts_are_another_entry(store, tmp_path):
    for number, parts in enumerate([{"a": 1}, {"a": 2}, {"b": 1}]):
        out = tmp_path / str(number)
        assert not store.fill(key(**parts), out, writer(out))
    assert len(store.entries()) == 3


@pytest.mark.parametrize("damage", ["changed", "cut", "missing", "no entry"])
def test_a_damaged_entry_is_built_anew(damage, store, tmp_path):
    store.fill(key(), tmp_path / "one", writer(tmp_path / "one"))
    (file,) = store.folder.glob("entries/*/*/files/net.txt")
    if damage == "changed":
        file.write_text("weighty")
    elif damage == "cut":
        file.write_text("weigh")
    elif damage == "missing":
        file.unlink()
    else:
        (file.parents[1] / "entry.json").write_text("{")
    if damage != "no entry":
        assert "net.txt" in store.damage(store.entries()[0])
        with pytest.warns(UserWarning, match="cache entry .* is rebuilt: .*net.txt"):
            assert not store.fill(key(), tmp_path / "two", writer(tmp_path / "two"))
    else:
        assert not store.fill(key(), tmp_path / "two", writer(tmp_path / "two"))
    assert content(tmp_path / "two") == content(tmp_path / "one")
    assert store.fill(key(), tmp_path / "three", writer(tmp_path / "three"))


def test_a_stage_that_fails_leaves_no_entry(store, tmp_path):
    def fail():
        writer(tmp_path / "out")()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.fill(key(), tmp_path / "out", fail)
    assert store.entries() == []


def test_what_was_not_used_for_the_longest_time_goes(store, tmp_path):
    for number in range(3):
        out = tmp_path / str(number)
        store.fill(key(number=number), out, writer(out, "x" * MIB))
        os.utime(entry_file(store, key(number=number)), (1000 + number, 1000 + number))
    store.copy_entry(key(number=0).digest, tmp_path / "again")  # now the one used last
    gone = store.prune(int(2.5 * MIB))
    assert [entry.digest for entry in gone] == [key(number=1).digest]
    assert {entry.digest for entry in store.entries()} == {
        key(number=0).digest,
        key(number=2).digest,
    }


def test_a_cache_does_not_grow_beyond_its_limit(tmp_path):
    store = CacheStore(tmp_path / "cache", 2 * MIB)
    for number in range(4):
        out = tmp_path / str(number)
        store.fill(key(number=number), out, writer(out, "x" * (MIB - 1000)))
    assert sum(entry.size for entry in store.entries()) <= 2 * MIB
    assert len(store.entries()) == 2


def test_what_was_left_half_written_long_ago_is_removed(store):
    old, new = store._staging() / "old", store._staging() / "new"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
    store.prune()
    assert not old.exists() and new.exists()


@pytest.mark.parametrize("number", range(1, 12))
def test_a_full_disk_leaves_no_half_entry_and_the_result_is_there(
    number, store, tmp_path, monkeypatch
):
    """The ``number``-th time that something is to reach the disk, there is no room."""
    calls = []

    def full(place: Path, original=module.fsync_path) -> None:
        calls.append(place)
        if len(calls) == number:
            raise OSError(28, "No space left on device")
        original(place)

    monkeypatch.setattr(module, "fsync_path", full)
    out = tmp_path / "out"
    if number <= 5:
        with pytest.warns(UserWarning, match="the cache .* is not written: .*No space left"):
            store.fill(key(), out, writer(out))
    else:
        store.fill(key(), out, writer(out))
    assert len(content(out)) == 2
    assert all(not store.damage(entry) for entry in store.entries())
    monkeypatch.undo()
    again = tmp_path / "again"
    store.fill(key(), again, writer(again))
    assert content(again) == content(out)


def test_a_cache_that_cannot_be_used_is_a_warning_and_the_result_is_there(tmp_path):
    (tmp_path / "cache").write_text("a file")
    out = tmp_path / "out"
    with pytest.warns(UserWarning, match=r"the cache .* is not (used|written): "):
        assert not CacheStore(tmp_path / "cache", MIB).fill(key(), out, writer(out))
    assert len(content(out)) == 2


@pytest.fixture
def foreign_entry(store, tmp_path) -> Callable[..., None]:
    """Rewrites the description of an entry as somebody could who can write to the folder."""
    store.fill(key(), tmp_path / "first", writer(tmp_path / "first"))

    def rewrite(**changes: object) -> None:
        path = entry_file(store, key())
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return rewrite


@pytest.mark.parametrize(
    "name", ["../../../../../outside/pwned.txt", "a/../../../../../../pwned.txt"]
)
def test_an_entry_writes_nothing_outside_the_folder_that_it_is_for(
    name, foreign_entry, store, tmp_path
):
    inside = entry_file(store, key()).parent / "files"
    data = (inside / "net.txt").read_bytes()
    target = inside / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    before = content(tmp_path) | {"outside": target.read_bytes()}
    file = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    foreign_entry(files={name: file})
    calls: list[str] = []
    out = tmp_path / "deep" / "er" / "out"
    assert not store.fill(key(), out, writer(out, calls=calls))
    assert calls == ["weights"] and set(content(out)) == {"net.txt", "deep/more.bin"}
    assert before["outside"] == data
    written = {path for path in content(tmp_path) if path.endswith("pwned.txt")}
    assert written <= {path for path in before if path.endswith("pwned.txt")}


@pytest.mark.parametrize(
    "changes",
    [{"subject": "another"}, {"parts": {"a": 2}}, {"seal": "0" * 64}, {"seal": 1}, {"files": {}}],
    ids=lambda changes: next(iter(changes)),
)
def test_an_entry_that_this_user_did_not_seal_counts_as_absent(
    changes, foreign_entry, store, tmp_path
):
    foreign_entry(**changes)
    assert store.entries() == []
    assert not store.fill(key(), tmp_path / "out", writer(tmp_path / "out"))
    assert len(store.entries()) == 1


def test_an_entry_of_another_user_counts_as_absent(store, tmp_path, monkeypatch):
    store.fill(key(), tmp_path / "first", writer(tmp_path / "first"))
    monkeypatch.setattr(module, "user_secret", lambda: b"another user's")
    assert not store.fill(key(), tmp_path / "out", writer(tmp_path / "out"))


def test_an_entry_under_another_key_counts_as_absent(store, tmp_path):
    store.fill(key(a=1), tmp_path / "first", writer(tmp_path / "first"))
    moved = store._entry_folder(key(a=2).digest)
    moved.parent.mkdir(parents=True, exist_ok=True)
    store._entry_folder(key(a=1).digest).rename(moved)
    assert not store.fill(key(a=2), tmp_path / "out", writer(tmp_path / "out"))


def test_a_link_in_an_entry_is_damage(store, tmp_path):
    store.fill(key(), tmp_path / "first", writer(tmp_path / "first"))
    (file,) = store.folder.glob("entries/*/*/files/net.txt")
    file.unlink()
    (tmp_path / "elsewhere").write_text("weights")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match="rebuilt: 'net.txt' is a symbolic link, not a regular"):
        assert not store.fill(key(), tmp_path / "out", writer(tmp_path / "out"))


@pytest.mark.parametrize("depth", range(4))
def test_no_link_leads_a_cache_to_files_outside(depth, store, tmp_path):
    store.fill(key(), tmp_path / "first", writer(tmp_path / "first"))
    (described,) = store.folder.glob("entries/*/*/entry.json")
    link = [described, *described.parents][depth]  # the description, or a folder above it
    link.rename(tmp_path / "outside")
    link.symlink_to(tmp_path / "outside")
    outside = tmp_path / "outside"
    before = content(outside) or outside.read_bytes()
    assert store.entries() == []
    assert not store.copy_entry(key().digest, tmp_path / "copy")
    store.prune(0)
    store.remove(key().digest)
    assert (content(outside) or outside.read_bytes()) == before


@pytest.mark.parametrize(
    "name", ["entries", "aside", "locks", "entries/{group}", "locks/{key}.lock"]
)
def test_nothing_is_written_where_a_link_leads(name, store, tmp_path):
    outside = tmp_path / "outside"
    if name.endswith(".lock"):
        outside.write_text("theirs")
    else:
        outside.mkdir()
    link = store.folder / name.format(group=key().digest[:2], key=key().digest)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    with pytest.warns(UserWarning, match="is a link"):
        store.fill(key(), tmp_path / "out", writer(tmp_path / "out"))
    assert (tmp_path / "out" / "net.txt").read_text() == "weights"
    assert list(outside.iterdir()) == [] if outside.is_dir() else outside.read_text() == "theirs"


def test_a_description_that_is_a_pipe_or_too_large_counts_as_absent(store, tmp_path):
    store.fill(key(), tmp_path / "first", writer(tmp_path / "first"))
    (described,) = store.folder.glob("entries/*/*/entry.json")
    described.write_text(described.read_text() + " " * (5 * MIB))
    assert store.entry(key().digest) is None
    described.unlink()
    os.mkfifo(described)
    assert store.entry(key().digest) is None


def test_own_entries_that_cannot_be_read_are_pruned(foreign_entry, store):
    foreign_entry(seal="")
    store.prune()
    assert not entry_file(store, key()).exists()


def test_a_folder_that_everybody_can_write_to_is_no_cache(tmp_path):
    module.check_own_cache(tmp_path / "new")
    tmp_path.chmod(0o777)
    with pytest.raises(RecipeError, match="expected a folder of your own that not everybody can"):
        module.check_own_cache(tmp_path)


def test_the_secret_is_one_and_only_this_user_can_read_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    secret = user_secret()
    assert len(secret) == 32 and user_secret() == secret
    path = tmp_path / "backend-chain" / "secret"
    assert path.stat().st_mode & 0o077 == 0 and [*path.parent.iterdir()] == [path]


def entry_file(store: CacheStore, of: CacheKey) -> Path:
    return store._entry_folder(of.digest) / "entry.json"


KILLED = """\
import os, signal, sys
from pathlib import Path
from deploy.pipeline import cache_store as module
from tests.pipeline.test_cache_store import key, writer

calls = 0
def at(function):
    def wrapped(*args, **kwargs):
        global calls
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapped

for name in ("_copy", "fsync_path"):
    setattr(module, name, at(getattr(module, name)))
for name in ("rename", "mkdir", "write_text"):
    setattr(Path, name, at(getattr(Path, name)))
folder = Path(sys.argv[1])
module.CacheStore(folder / "cache", 1 << 30).fill(key(), folder / "out", writer(folder / "out"))
print("done")
"""


@pytest.mark.slow
def test_a_run_that_is_killed_anywhere_leaves_nothing_half(tmp_path):
    """At every write point: no entry that is not whole, and the next run completes."""
    root = Path(__file__).parents[2]
    for number in range(1, 60):
        folder = tmp_path / str(number)
        folder.mkdir()
        command = [sys.executable, "-c", KILLED, str(folder), str(number)]
        ended = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        store = CacheStore(folder / "cache", 1 << 30)
        assert all(not store.damage(entry) for entry in store.entries()), number
        store.fill(key(), folder / "next", writer(folder / "next"))
        assert len(content(folder / "next")) == 2
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert number > 12, "there are more write points than that"
    assert ended.stdout == "done\n"


CROWD = """\
import sys, time
from pathlib import Path
from deploy.pipeline.cache_store import CacheStore as Store
from tests.pipeline.test_cache_store import content, key

folder, number = Path(sys.argv[1]), int(sys.argv[2])
for part in range(4):
    out = folder / f"{number}-{part}"
    def build():
        with (folder / "built.txt").open("a") as log:
            log.write(f"{part}\\n")
        out.mkdir()
        time.sleep(0.05)
        (out / "net.txt").write_text(str(part) * 100_000)
    Store(folder / "cache", 1 << 30).fill(key(part=part), out, build)
    assert content(out) == {"net.txt": (str(part) * 100_000).encode()}
"""


@pytest.mark.slow
def test_32_processes_build_each_key_once(tmp_path):
    root = Path(__file__).parents[2]
    crowd = [
        subprocess.Popen([sys.executable, "-c", CROWD, str(tmp_path), str(n)], cwd=root)
        for n in range(32)
    ]
    assert [one.wait(120) for one in crowd] == [0] * 32
    assert sorted((tmp_path / "built.txt").read_text().split()) == ["0", "1", "2", "3"]


PRUNING_CROWD = """\
import sys, warnings
from pathlib import Path
from deploy.pipeline.cache_store import CacheStore as Store
from tests.pipeline.test_cache_store import content, key

warnings.filterwarnings("error", message="the cache .* is not written")
folder, number = Path(sys.argv[1]), int(sys.argv[2])
for turn in range(60):
    part = (turn * 7 + number) % 10
    out = folder / f"{number}-{turn}"
    def build():
        out.mkdir()
        (out / "net.txt").write_text(str(part) * 100_000)
    store = Store(folder / "cache", 350_000)
    store.fill(key(part=part), out, build)
    assert content(out) == {"net.txt": (str(part) * 100_000).encode()}
    store.prune(0 if turn % 10 == 9 else None)
    assert all(entry.size == 100_000 for entry in store.entries())
"""


@pytest.mark.slow
def test_processes_that_prune_at_once_disturb_nobody(tmp_path):
    root = Path(__file__).parents[2]
    crowd = [
        subprocess.Popen([sys.executable, "-c", PRUNING_CROWD, str(tmp_path), str(n)], cwd=root)
        for n in range(8)
    ]
    assert [one.wait(120) for one in crowd] == [0] * 8
    store = CacheStore(tmp_path / "cache", 350_000)
    assert sum(entry.size for entry in store.entries()) <= 350_000
    assert not list((store.folder / "aside").iterdir())


@pytest.mark.parametrize("shift", [-(10**9), -3600, 3600, 10**9])
def test_a_clock_that_jumps_changes_what_is_pruned_first_and_nothing_else(shift, store, tmp_path):
    for part in range(3):
        out = tmp_path / str(part)
        store.fill(key(part=part), out, writer(out, str(part) * 1000))
    jumped = store.entries()[-1]
    (path,) = store.folder.glob(f"entries/*/{jumped.digest}/entry.json")
    now = path.stat().st_mtime
    os.utime(path, (now + shift, now + shift))
    assert not store.prune()
    removed = store.prune(2500)
    assert len(removed) == 1
    assert (removed[0].digest == jumped.digest) == (shift < 0)
    for part in range(3):
        again = tmp_path / f"again {part}"
        store.fill(key(part=part), again, writer(again, str(part) * 1000))
        assert content(again)["net.txt"] == (str(part) * 1000).encode()


def test_the_lock_of_a_process_that_died_is_taken_over(store, tmp_path):
    root = Path(__file__).parents[2]
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from deploy.pipeline.cache_store import CacheStore as Store\n"
        "from tests.pipeline.test_cache_store import key\n"
        "def hang():\n    print('held', flush=True)\n    time.sleep(600)\n"
        "Store(Path(sys.argv[1]), 1 << 30).fill(key(), Path(sys.argv[2]), hang)\n"
    )
    words = [sys.executable, "-c", code, str(store.folder), str(tmp_path / "dead")]
    with subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, text=True) as dead:
        assert dead.stdout is not None and dead.stdout.readline() == "held\n"
        dead.kill()
    assert not store.fill(key(), tmp_path / "out", writer(tmp_path / "out"))


def test_the_entry_says_what_decided_it(store, tmp_path):
    store.fill(key(option=3), tmp_path / "out", writer(tmp_path / "out"))
    about = json.loads(entry_file(store, key(option=3)).read_text())
    assert (about["stage"], about["subject"]) == ("convert", "net for some")
    assert about["parts"] == {"option": 3}
