"""The command check says what it compared."""

from __future__ import annotations

from deploy.runtime.accuracy import sample_check
from deploy.runtime.commands.check import check


def test_a_check_that_compares_nothing_says_so(make_bundle, monkeypatch, capsys):
    bundle = make_bundle()
    assert check(bundle, None) and "nothing to compare" not in capsys.readouterr().out
    monkeypatch.setattr(sample_check, "sample_errors", lambda *_: [])  # all is behind a host step
    assert check(bundle, None)
    assert capsys.readouterr().out.startswith("note: nothing to compare: what a host step selects")
