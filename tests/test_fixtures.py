"""A fixture's name says what it holds, so it is defined once."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
NOT_RENAMED_YET = {"folder"}  # of test_examples.py and test_readme.py


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
    for name in NOT_RENAMED_YET:
        duplicates.pop(name, None)
    assert not duplicates, (
        "fixtures: expected a name of its own for each, which says what it holds; move one that "
        f"several files share to a conftest.py; got {duplicates}"
    )
