"""What pybind11-stubgen writes about TensorRT, mended so that mypy can read and use it."""

from __future__ import annotations

import ast
import re

_CPP = re.compile(r"(?:\w+::)+\w+(<[^>]*>)?")
_CPP_NAMES = {"IParserError": "ParserError", "IBuilder": "Builder"}
# pybind11 does not say that what points nowhere is None
_NULLABLE = re.compile(
    r"(def (?:build_serialized_network|create_execution_context|create_timing_cache|"
    r"deserialize_cuda_engine|get_timing_cache|load_runtime)\(.*) -> (\w+):"
)
# nor that a bound object goes for a pointer
_POINTER = "logger: typing_extensions.CapsuleType"
_BUFFER = """
    def __buffer__(self, flags: int) -> memoryview:
        ...
"""


def mended(text: str) -> str:
    """The text of a stub file as valid Python that says a bit more."""
    classes = set(re.findall(r"^class (\w+)", text, re.MULTILINE))
    lines = [_mended_line(line, classes) for line in text.split("\n")]
    return _with_buffer("\n".join(lines))


def _mended_line(line: str, classes: set[str]) -> str:
    if not re.match(r"\s*(def )?\w+[(:]", line):
        return line
    line = re.sub(r"= <[^>]*>", "= ...", line)
    line = _CPP.sub(lambda found: _python_name(found.group(), classes), line)
    line = re.sub(r"\bin: ", "in_: ", line)
    line = _NULLABLE.sub(r"\1 -> \2 | None:", line)
    line = line.replace(_POINTER, f"{_POINTER} | ILogger")
    return line if _is_python(line) else _without_parameters(line)


def _python_name(cpp: str, classes: set[str]) -> str:
    name = cpp.rpartition("::")[2]
    name = _CPP_NAMES.get(name, name)
    return name if name in classes else "typing.Any"


def _is_python(line: str) -> bool:
    text = line.strip()
    if not text.startswith("def "):
        return True
    try:
        ast.parse(f"{text} ...")
    except SyntaxError:
        return False
    return True


def _without_parameters(line: str) -> str:
    """Such as of a parameter without a default after one that has one."""
    return re.sub(r"\(.*\) ->", "(self, *args: typing.Any, **kwargs: typing.Any) ->", line)


def _with_buffer(text: str) -> str:
    """The buffer protocol has no method that the generator could see before Python 3.12."""
    return re.sub(
        r"(class IHostMemory:\n    \"\"\".*?\"\"\")",
        rf"\1{_BUFFER}",
        text,
        count=1,
        flags=re.DOTALL,
    )
