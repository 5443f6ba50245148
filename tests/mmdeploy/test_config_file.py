"""Configurations of MMDeploy are read as values, and never run."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.mmdeploy.config_file import ConfigFileError, read_config


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("dict(a=1, b=[2, (3, None)])", {"a": 1, "b": [2, (3, None)]}),
        ("{'0': True, 1: -2.5}", {"0": True, 1: -2.5}),
        ("1 << 30", 1 << 30),
        ("[3 * 4 + 1, 7 // 2, [1, 2] * 2]", [13, 3, [1, 2, 1, 2]]),
        ("[f'map.{i}' for i in range(3)]", ["map.0", "map.1", "map.2"]),
        ("size[0] + size[1]", 960),
        ("dict(list(size)) if False else 0", None),
    ],
)
def test_literals_arithmetic_and_comprehensions_have_values(tmp_path, text, value):
    path = written(tmp_path, "c.py", f'"""A text."""\nsize = (640, 320)\nx = {text}\n')
    if value is None:
        with pytest.raises(ConfigFileError, match=r"line 3: expected plain values: .*, got IfExp"):
            read_config(path)
    else:
        assert read_config(path)["x"] == value


def test_mappings_are_merged_into_those_of_the_bases(tmp_path):
    written(tmp_path, "base/one.py", "a = dict(x=1, y=dict(z=2))\nb = [1, 2]\n")
    written(tmp_path, "base/two.py", "_base_ = './one.py'\na = dict(y=dict(w=3))\n")
    text = "_base_ = ['base/two.py']\na = dict(x=5, y=dict(_delete_=True, v=4))\nb = [3]\n"
    assert read_config(written(tmp_path, "own.py", text)) == {
        "a": {"x": 5, "y": {"v": 4}},
        "b": [3],
    }
    assert read_config(tmp_path / "base/two.py")["a"] == {"x": 1, "y": {"z": 2, "w": 3}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import os\n", "line 1: expected plain values: .*, got Import"),
        ("x = open('secret')\n", "line 1: .*, got Call"),
        ("x = dict().__class__\n", "line 1: .*, got Attribute"),
        ("x = unknown\n", "line 1: .*, got Name"),
        ("x = [1][5]\n", "line 1: .*, got Subscript"),
        ("x = 1 << 99999999\n", "line 1: .*, got BinOp"),
        ("x = [0] * 100000000\n", "line 1: .*, got BinOp"),
        ("x = 9 ** 9\n", "line 1: .*, got BinOp"),
        ("x = [i for i in range(100000000)]\n", "line 1: .*, got ListComp"),
        ("x = range(3)(\n", "is no Python"),
        ("x = " + "(" * 9000 + ")" * 9000, "is no Python"),
        ("_base_ = 'c.py'\n", "is a base of itself, or lies too deep in others"),
        (
            "_base_ = 'gone.py'\n",
            "gone.py': expected a file .*, got nothing.* keep the folders",
        ),
    ],
)
def test_what_would_have_to_be_run_is_refused_by_its_line(tmp_path, text, message):
    with pytest.raises(ConfigFileError, match=message):
        read_config(written(tmp_path, "c.py", text))
