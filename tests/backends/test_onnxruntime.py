"""What ONNX Runtime's sessions on the CPU are told."""

from __future__ import annotations

import pytest

from backends.onnxruntime import Options
from backends.onnxruntime.session import on_cpu
from tests.helpers.graphs import two_and_two


@pytest.mark.parametrize(
    ("spin", "waits", "stops"),
    [("auto", "1", "0"), ("on", "1", "0"), ("run", "1", "1"), ("off", "0", "0")],
)
def test_a_session_is_told_whether_its_threads_wait_busily(spin, waits, stops, tmp_path):
    session = on_cpu(two_and_two(tmp_path / "model.onnx").onnx, Options(spin=spin, threads=2))
    asked = session.get_session_options()
    assert asked.get_session_config_entry("session.intra_op.allow_spinning") == waits
    assert asked.get_session_config_entry("session.force_spinning_stop") == stops
    assert asked.intra_op_num_threads == 2
