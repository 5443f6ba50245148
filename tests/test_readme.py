"""The README's blocks run as they are written, one after the other, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(sh|python|yaml)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_the_readme_has_blocks_and_names_the_test_command():
    assert len(BLOCKS) >= 6
    assert "scripts/test" in README and "scripts/test" in (ROOT / ".ci" / "run").read_text()


def test_every_link_of_the_docs_leads_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.fixture(scope="module")
def readme_folder(tmp_path_factory) -> Path:
    """Where the reader stands; only what the blocks write is there."""
    return tmp_path_factory.mktemp("readme")


@pytest.mark.parametrize("number", range(len(BLOCKS)))
@pytest.mark.slow
def test_a_block_runs(number, readme_folder):
    language, text = BLOCKS[number]
    named = re.search(r"^# (\S+\.(?:py|yaml))$", text, flags=re.MULTILINE)
    if named:
        file = readme_folder / named[1]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return
    command = ["sh", "-ec", text] if language == "sh" else [sys.executable, "-c", text]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # the simulated GPU is the device's
    gpu = {} if "# on the device" in text else {"SIM_CUDA_DEVICES": ""}
    env = {**os.environ, "PATH": path, **gpu}
    done = subprocess.run(
        command, cwd=readme_folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{text}\n{done.stderr}"
