"""What holds for the tests as a whole: names of fixtures, and tiers."""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent


def fixtures(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """The functions that ``pytest.fixture`` decorates."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any(
            ast.unparse(decorator).startswith("pytest.fixture") for decorator in node.decorator_list
        ):
            yield node


def test_no_fixture_name_is_defined_twice():
    definitions = defaultdict(list)
    for path in sorted(TESTS.rglob("*.py")):
        for function in fixtures(ast.parse(path.read_text())):
            definitions[function.name].append(f"{path.relative_to(TESTS)}:{function.lineno}")
    assert len(definitions) > 50
    duplicates = {name: lines for name, lines in definitions.items() if len(lines) > 1}
    assert not duplicates, (
        "fixtures: expected a name of its own for each, which says what it holds; move one that "
        f"several files share to a conftest.py; got {duplicates}"
    )


def test_every_tier_has_tests():
    project = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())
    tiers = [line.split(":")[0] for line in project["tool"]["pytest"]["ini_options"]["markers"]]
    texts = [path.read_text() for path in TESTS.rglob("test_*.py")]
    assert tiers
    for tier in tiers:
        assert any(f"pytest.mark.{tier}\n" in text for text in texts), f"no test is marked {tier}"
