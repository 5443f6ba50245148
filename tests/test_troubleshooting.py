"""The page of error texts has texts that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "when-it-refuses.md").read_text()
TEXTS = re.findall(r"^\| `([^`]+)` \|", PAGE, flags=re.MULTILINE)
SOURCES = [
    path.read_text() for room in ("deploy", "backends") for path in (ROOT / room).rglob("*.py")
]
# pieces of one text that stand on several lines are one text
CODE = "\n".join(re.sub(r'"\s*\n\s*f?"', "", source) for source in SOURCES)


def test_the_page_has_texts():
    assert len(TEXTS) > 20


@pytest.mark.parametrize("text", TEXTS)
def test_an_error_text_of_the_page_is_in_the_code(text):
    assert text in CODE
