"""Every example is listed in the index and in the docs, and keeps to the project's rules."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.helpers.readme_blocks import read_blocks

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent for path in (ROOT / "examples").glob("*/README.md"))
NAMES = [folder.name for folder in FOLDERS]


def test_the_index_lists_every_example():
    listed = re.findall(r"^\| \[(\w+)\]\(\1/README\.md\)", index(), flags=re.MULTILINE)
    assert len(NAMES) >= 9 and sorted(listed) == NAMES


def test_the_page_of_the_docs_lists_every_example():
    page = (ROOT / "docs" / "examples.md").read_text()
    assert sorted(re.findall(r"^\| `examples/(\w+)`", page, flags=re.MULTILINE)) == NAMES


def index() -> str:
    return (ROOT / "examples" / "README.md").read_text()


@pytest.mark.parametrize("folder", [ROOT / "examples", *FOLDERS], ids=lambda folder: folder.name)
def test_every_link_of_an_example_leads_somewhere(folder):
    for target in re.findall(r"\]\(([^)#:]+)[)#]", (folder / "README.md").read_text()):
        assert (folder / target).exists(), f"{folder.name}: {target}"


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_an_example_has_commands_or_says_how_it_is_started(folder):
    text = (folder / "README.md").read_text()
    assert read_blocks(folder / "README.md") or "\n    uvicorn app:app\n" in text
    assert "pytest" not in "".join(path.read_text() for path in folder.glob("*.py"))


def test_the_tests_of_the_examples_run_in_ci():
    tiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert any(marker.startswith("slow") for marker in tiers["markers"])
    assert "scripts/test --all" in (ROOT / ".ci" / "run").read_text()
