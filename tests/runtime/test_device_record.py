"""What a device answers is read as the word of a stranger."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backends.error_metrics import ErrorMetrics
from deploy.runtime.benchmark.machine import Machine
from deploy.runtime.benchmark.machine_state import MachineState
from deploy.runtime.bundle.manifest import StepMetrics
from deploy.runtime.device_record import (
    MOST_BYTES,
    AlternativeLatency,
    DeviceRecord,
    RecordError,
    parse_record,
    record_text,
)
from deploy.runtime.latency import PartLatency

RECORD = DeviceRecord(
    device="pi",
    at="2026-11-30T12:00:00+00:00",
    machine=Machine("Linux", "aarch64", "a board", 4, 1 << 32, "3.12", {"ncnn": "1"}, "ondemand"),
    status="failed",
    gaps=(StepMetrics("chain", ErrorMetrics("y", float("inf"), float("inf"), 0.0)),),
    notes={"map": 0.5},
    latency=(AlternativeLatency("a-fp32", (PartLatency("total", 5, 6, 7, 5.5, 4),), (5.0,), 0.25),),
    states=(MachineState(1.0, celsius=-4.0, is_capped=True),),
    problem="'y' of the chain: max_rel inf",
)


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(record_text(RECORD)), **fields}).encode()


def test_a_record_is_read_as_it_was_written():
    assert parse_record(record_text(RECORD).encode(), "pi") == RECORD
    assert RECORD.used is not None and RECORD.used.total.p50 == 5


def latency(**fields: Any) -> list[Any]:
    (row,) = json.loads(record_text(RECORD))["latency"]
    return [{**row, **fields}]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"status": "pending"}, r"record.status: expected 'passed' or 'failed', got 'pending'"),
        ({"further": 1}, r"record: unknown field 'further'"),
        ({"notes": {"map": float("nan")}}, r"record.notes.map: expected a finite number"),
        ({"problem": "x\nerror: y"}, r"record.problem: expected a text of one line"),
        ({"notes": {"a\nb": 1.0}}, r"record.notes: name: expected a text of one line"),
        ({"device": "x" * 1001}, r"record.device: expected a string of length 0 to 1,000"),
        ({"latency": latency(parts=[])}, r"parts: expected an array of length 1 to 10,000"),
        ({"latency": latency(rounds=[-1.0])}, r"rounds\[0\]: expected a finite number from 0 up"),
        ({"latency": latency(joules=float("inf"))}, r"joules: expected a finite number from 0"),
        ({"machine": {}}, r"record.machine: field 'architecture' is missing"),
    ],
)
def test_what_no_measurement_gives_is_refused_by_name(fields, message):
    with pytest.raises(RecordError, match=f"what pi has answered is no record.*{message}"):
        parse_record(changed(**fields), "pi")


@pytest.mark.parametrize("data", [b"", b"Killed", b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_record_at_all_is_said_to_be_none(data):
    with pytest.raises(RecordError, match="what pi has answered is no record of a measurement"):
        parse_record(data, "pi")


def test_an_endless_answer_is_not_parsed():
    with pytest.raises(RecordError, match=r"the record of pi: expected at most 16,777,216, got"):
        parse_record(b" " * (MOST_BYTES + 1), "pi")
