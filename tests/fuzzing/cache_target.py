"""A cache folder as runs and the command ``cache`` use it: nothing of somebody else's is taken."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from backends.contract import DeployError
from backends.user_cache import cache_folder
from deploy.cli.main import run_command
from deploy.pipeline.cache_store import CacheStore, check_own_cache
from tests.fuzzing.cache_entries import CACHE, KEYS, PLAN, SECRET, contents
from tests.fuzzing.worker import Door

_LIMIT = 3000  # bytes, which are fewer than all entries together have


def use_cache(given: Path, out: Path, door: Door) -> None:
    """Do with a cache what its plan says."""
    _own_secret()
    plan = json.loads((given / PLAN).read_text())
    for path, mode in plan["modes"].items():
        _change_mode(given, path, mode)
    try:
        for number, action in enumerate(plan["actions"]):
            door()
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                _act(action, given / CACHE, out / str(number))
    finally:
        for path in plan["modes"]:
            _change_mode(given, path, 0o700)


def _change_mode(given: Path, path: str, mode: int) -> None:
    """Change the mode of a folder that no link leads to."""
    if (given / path).is_dir() and (given / path).resolve() == given.resolve() / path:
        (given / path).chmod(mode)


def _own_secret() -> None:
    path = cache_folder() / "secret"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(SECRET)


def _act(action: str, folder: Path, out: Path) -> None:
    out.mkdir()
    if action.startswith("cli "):
        try:
            run_command("cache", [action.removeprefix("cli "), str(folder)])
        except SystemExit as error:
            if error.code not in (None, 0, 1):
                raise DeployError(str(error.code)) from error
        return
    check_own_cache(folder)
    store = CacheStore(folder, _LIMIT)
    actions: Mapping[str, Callable[[], object]] = {
        "take": lambda: _take(store, out),
        "put": lambda: _put(store, out),
        "list": store.entries,
        "damage": lambda: [store.damage(entry) for entry in store.entries()],
        "prune": store.prune,
        "prune all": lambda: store.prune(0),
    }
    actions[action]()


def _take(store: CacheStore, out: Path) -> None:
    for name, key in KEYS.items():
        if store.copy_entry(key.digest, out / name):
            _check(name, out / name)


def _put(store: CacheStore, out: Path) -> None:
    for name, key in KEYS.items():
        folder = out / name

        def build(folder: Path = folder, name: str = name) -> None:
            for file, data in contents(name).items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_bytes(data)

        if store.fill(key, folder, build):
            _check(name, folder)


def _check(name: str, folder: Path) -> None:
    """What was taken is what a run of this user once put there under this key."""
    taken = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert taken == dict(contents(name)), f"{name}: somebody else's files were taken"
