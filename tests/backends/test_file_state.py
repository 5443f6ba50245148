"""A file's state tells that it was written, also where its times were put back."""

import os
import time

from backends.file_state import are_settled, file_state


def written(path, text, times=None):
    path.write_text(text)
    if times is not None:
        os.utime(path, ns=times)
    return file_state(path)


def test_a_file_that_is_left_alone_keeps_its_state(tmp_path):
    before = written(tmp_path / "file", "one")
    (tmp_path / "file").read_text()
    (tmp_path / "other").write_text("another")
    assert file_state(tmp_path / "file") == before


def test_times_that_are_put_back_make_another_state(tmp_path):
    before = written(tmp_path / "file", "one")
    time.sleep(0.05)  # a step of the system's clock
    after = written(tmp_path / "file", "two", (before.modified_ns, before.modified_ns))
    assert after.modified_ns == before.modified_ns
    assert after.size == before.size
    assert after != before


def test_a_copy_and_a_file_in_its_place_have_other_states(tmp_path):
    before = written(tmp_path / "file", "one", (0, 0))
    copy = written(tmp_path / "copy", "one", (0, 0))
    (tmp_path / "copy").replace(tmp_path / "file")
    assert before.inode != copy.inode
    assert file_state(tmp_path / "file") != before


def test_what_was_written_a_moment_ago_is_not_settled(tmp_path):
    now = time.time_ns()
    fresh = written(tmp_path / "file", "one")
    old = fresh._replace(modified_ns=now - 3 * 10**9, changed_ns=now - 3 * 10**9)
    assert are_settled([old, old])
    assert not are_settled([old, fresh])
    assert not are_settled([old._replace(changed_ns=fresh.changed_ns)])
    assert not are_settled([old._replace(modified_ns=now + 10**12)])  # of another clock
