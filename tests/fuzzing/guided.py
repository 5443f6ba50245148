"""Mutants chosen by coverage, for the readers in plain Python: atheris in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from tests.fuzzing.guided_child import READERS
from tests.fuzzing.seeds import corpus
from tests.fuzzing.trees import Seed

_ROOT = Path(__file__).resolve().parents[2]
_LONGEST = 65_536  # bytes of a mutant
_SECONDS = 10  # of one
_MIB = 4096


def guided(kind: str, out: Path, seconds: int, seed: int) -> int:
    """Fuzz a reader for some time; 1 if something was found, which is written below ``out``."""
    if kind not in READERS:
        print(f"{kind}: its reader is native code; coverage guides {', '.join(READERS)}")
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("error: atheris is missing: pip install atheris", file=sys.stderr)
        return 1
    home = out / "guided" / kind
    _begin(home / "corpus", corpus(kind, out / "corpus"), kind)
    command = [sys.executable, "-m", "tests.fuzzing.guided_child", kind, str(home / "corpus")]
    command += [f"-max_total_time={seconds}", f"-max_len={_LONGEST}", f"-timeout={_SECONDS}"]
    command += [f"-rss_limit_mb={_MIB}", f"-artifact_prefix={home}/", f"-seed={seed + 1}"]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    ended = subprocess.run(command, cwd=_ROOT, env=environment, check=False).returncode
    print(f"{kind}: {'nothing found' if not ended else f'a fault, written to {home}'}")
    return int(ended != 0)


def _begin(folder: Path, seeds: list[Seed], kind: str) -> None:
    """The first mutants are the seeds."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for name, node in seed.tree.items():
            if READERS[kind] in ("", Path(name).suffix) or name == READERS[kind]:
                (folder / f"{seed.name}-{Path(name).name}").write_bytes(node.data)
