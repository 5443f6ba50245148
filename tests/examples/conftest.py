"""The examples in a folder of their own, with the digit detector that three of them use."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers.readme_blocks import run_blocks

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def uncompiled_host_steps(monkeypatch) -> None:
    """A compilation would take longer than the example, and is tested elsewhere."""
    monkeypatch.setenv("DEPLOY_NO_COMPILE", "1")


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Path:
    """A copy of the examples, in an empty folder."""
    left_out = shutil.ignore_patterns("__pycache__", "*.work")
    return Path(shutil.copytree(EXAMPLES, tmp_path_factory.mktemp("user") / "e", ignore=left_out))


@pytest.fixture(scope="module")
def examples_with_digits(examples) -> Path:
    """With the bundle that the index makes."""
    run_blocks(examples)
    return examples
