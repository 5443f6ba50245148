"""What the tests of the export share."""

from __future__ import annotations

import importlib
import sys

import pytest

THEIRS = '''
from torch import nn

LIMIT = 3

def double(x):
    """Theirs."""
    return x * 2

class Base:
    def inherited(self, x):
        return x + 1

class Thing(Base):
    table = {}

    def method(self, x, *, scale=1):
        return x * scale

    @staticmethod
    def static(x):
        return x - 1

    @classmethod
    def make(cls, x):
        return cls.__name__, x

    @property
    def size(self):
        return 5

class Act(nn.Module):
    def forward(self, x):
        return x.relu()

class SubAct(Act):
    pass
'''


@pytest.fixture
def third_party_module(tmp_path, monkeypatch):
    """A package that is not ours."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "__init__.py").write_text("from theirs.code import double as code")
    (tmp_path / "theirs" / "code.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("theirs.code")
    for name in ("theirs", "theirs.code"):
        del sys.modules[name]
