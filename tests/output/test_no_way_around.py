"""No program, and no line of code, prints beside the streams that make text printable."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("deploy", "backends")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
STREAMS, CONSOLE = "backends.terminal", "deploy.report.console"
# whose output is inherited: programs of ours, and one that the user asked for
INHERITING = {
    "deploy.analysis.evaluate",
    "deploy.analysis.inspect",
    "deploy.runtime.benchmark.worker",
}


def trees() -> Iterator[tuple[str, ast.Module]]:
    for module, path in SOURCES.items():
        yield module, ast.parse(path.read_text())


def programs() -> set[str]:
    """The modules that are started as a program: by ``python -m``, as a child, as a command."""
    guarded = {
        module for module, tree in trees() for node in tree.body
        if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)
    }  # fmt: skip
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    return guarded | {script.partition(":")[0] for script in scripts.values()}


def is_wrapped(module: str) -> bool:
    """Whether a module, or one whose ``main``, ``run_`` or ``answer_`` it calls, is wrapped."""
    tree = ast.parse(SOURCES[module].read_text())
    imported = {
        node.module for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in SOURCES
        and any(name.name.startswith(("main", "run_", "answer_")) for name in node.names)
    }  # fmt: skip
    imported |= {
        f"{node.module}.{name.name}" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
        for name in node.names if f"{node.module}.{name.name}" in SOURCES
    }  # fmt: skip
    return any("program_output()" in SOURCES[name].read_text() for name in {module, *imported})


def test_there_are_programs_to_look_at():
    assert {
        "deploy.__main__",
        "deploy.runtime.__main__",
        "deploy.runtime.benchmark.worker",
    } < programs()
    assert len(programs()) > 10


@pytest.mark.parametrize("module", sorted(programs()))
def test_every_program_runs_with_printable_streams(module):
    assert is_wrapped(module)


def ways_around(module: str, node: ast.AST) -> Iterator[str]:
    text = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Call) else ""
    if isinstance(node, ast.Attribute) and module != STREAMS:
        if text in ("sys.__stdout__", "sys.__stderr__", "sys.stdout.buffer", "sys.stderr.buffer"):
            yield f"{text}: the stream below"
        if node.attr == "controls" and module != CONSOLE:
            yield f"{text}: the stream for rich alone"
    if not isinstance(node, ast.Call):
        return
    called = ast.unparse(node.func)
    if called in ("Console", "rich.print", "rich.get_console", "console.out", "os.writev"):
        yield f"{called}: deploy/report/console.py has the console"
    if called == "os.write":
        yield "os.write: beside the streams"
    if called == "print":
        files = [ast.unparse(word.value) for word in node.keywords if word.arg == "file"]
        yield from (f"print to {file}" for file in files if file not in PRINTED_TO)
    if called in ("subprocess.run", "subprocess.Popen"):
        words = {word.arg for word in node.keywords}
        if "capture_output" not in words and not {"stdout", "stderr"} <= words | INHERITED[module]:
            yield f"{called}: its output is inherited"


PRINTED_TO = ("sys.stderr", "self._process.stdin")
INHERITED: dict[str, set[str]] = {
    **{module: set() for module in SOURCES},
    **{module: {"stdout", "stderr"} for module in INHERITING},
}


def test_no_code_prints_beside_the_streams():
    assert [
        f"{module}:{getattr(node, 'lineno', 0)} {way}"
        for module, tree in trees()
        for node in ast.walk(tree)
        for way in ways_around(module, node)
    ] == []


@pytest.mark.parametrize(
    "code",
    [
        "sys.__stdout__.write('x')",
        "sys.stdout.buffer.write(b'x')",
        "os.write(1, b'x')",
        "Console().print('x')",
        "print('x', file=target)",
        "subprocess.run(['x'])",
        "sys.stdout.controls.write('x')",
    ],
)
def test_the_scan_finds_each_way_around(code):
    found = [way for node in ast.walk(ast.parse(code)) for way in ways_around("deploy.mark", node)]
    assert found
