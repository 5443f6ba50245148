"""Plans of the double of TensorRT: which are loaded, and which are refitted."""

from __future__ import annotations

import threading

import onnx
import pytest

from tests.simulator.engines import (
    ADD,
    ONES,
    SCALE,
    SIZES,
    Call,
    build,
    current,
    engine,
    load,
    model,
    parser_errors,
    weighted,
)

pytestmark = pytest.mark.usefixtures("on_gpu")


@pytest.mark.parametrize(
    "damage",
    [
        lambda plan: plan[:-1],
        lambda plan: plan[:20],
        lambda plan: plan[:60] + b"?" + plan[61:],
        lambda plan: b"",
        lambda plan: b"no plan at all",
    ],
)
def test_a_damaged_plan_is_refused(log, damage):
    assert engine(log, damage(build(log, model(ADD), SIZES))) is None
    assert "Serialization assertion" in log.take()


COMPATIBLE, LEAN = "VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"


@pytest.mark.parametrize(
    ("here", "flags", "allowed", "loads"),
    [
        ("11.4.0.106", [], False, True),
        ("11.4.0.107", [], True, False),
        ("11.3.0.1", [], True, False),
        ("11.4.0.106", [COMPATIBLE], False, False),
        ("11.4.0.106", [COMPATIBLE], True, True),
        ("11.5.0.1", [COMPATIBLE], True, True),
        ("11.3.9.9", [COMPATIBLE], True, False),
        ("12.0.0.1", [COMPATIBLE], True, False),
        ("11.5.0.1", [COMPATIBLE, LEAN], True, False),
    ],
)
def test_a_plan_is_for_its_version(log, monkeypatch, here, flags, allowed, loads):
    plan = build(log, model(ADD), SIZES, flags)
    monkeypatch.setattr(load()[0]._runtime, "VERSION", here)
    assert (engine(log, plan, allowed) is not None) == loads
    assert ("Error Code" in log.take()) != loads


@pytest.mark.parametrize(
    ("level", "loads"),
    [("NONE", False), ("SAME_COMPUTE_CAPABILITY", False), ("AMPERE_PLUS", True)],
)
def test_a_plan_is_for_its_gpu(log, level, loads):
    trt, _ = load()

    def configure(config) -> None:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel[level]

    plan = build(log, model(ADD), SIZES, configure=configure)
    with current(1):
        assert (engine(log, plan) is not None) == loads
        assert ("expecting compute 8.7 got compute 9.0" in log.take()) != loads


def test_no_context_is_current(log):
    plan, found = build(log, model(ADD), SIZES), []

    def work() -> None:  # a new thread has none
        found.extend((engine(log, plan), build(log, model(ADD), SIZES)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None, None]
    assert log.take().count("no CUDA context is current") == 2


def test_a_stripped_plan_gets_its_weights_from_the_file(log, tmp_path):
    trt, _ = load()
    path = tmp_path / "net.onnx"
    onnx.save(weighted(), path)
    plan = build(log, weighted(), flags=["STRIP_PLAN"])
    weights = (ONES * 2).tobytes()
    assert weights not in plan
    assert weights in build(log, weighted())
    loaded = engine(log, plan)
    assert loaded.refittable
    assert loaded.create_execution_context() is None
    assert "refit it" in log.take()
    refitter = trt.Refitter(loaded, log)
    assert not refitter.refit_cuda_engine()
    assert refitter.get_missing_weights() == ["w"]
    parser = trt.OnnxParserRefitter(refitter, log)
    assert parser.refit_from_file(str(path))
    assert refitter.refit_cuda_engine()
    assert (Call(loaded)(x=ONES)["y"] == 2).all()


@pytest.mark.parametrize(
    ("flags", "factor", "good"),
    [
        (["STRIP_PLAN"], 5, False),
        (["STRIP_PLAN", "REFIT_IDENTICAL"], 5, False),
        (["STRIP_PLAN", "REFIT"], 5, True),
        (["REFIT"], 5, True),
        (["REFIT_IDENTICAL"], 2, True),
    ],
)
def test_other_weights_need_the_right_flag(log, flags, factor, good):
    trt, _ = load()
    loaded = engine(log, build(log, weighted(), flags=flags))
    refitter = trt.Refitter(loaded, log)
    parser = trt.OnnxParserRefitter(refitter, log)
    assert parser.refit_from_bytes(weighted(factor).SerializeToString()) == good
    assert [code for code, *_ in parser_errors(parser)] == ([] if good else ["REFIT_FAILED"])
    if good:
        assert refitter.refit_cuda_engine()
        assert (Call(loaded)(x=ONES)["y"] == factor).all()


def test_weights_of_another_model_are_refused(log, tmp_path):
    trt, _ = load()
    refitter = trt.Refitter(engine(log, build(log, weighted(), flags=["STRIP_PLAN"])), log)
    parser = trt.OnnxParserRefitter(refitter, log)
    for other in (model(ADD), model(SCALE, w=ONES[:1])):
        path = tmp_path / "other.onnx"
        onnx.save(other, path)
        assert not parser.refit_from_file(str(path))
        assert "no weights for w that fit" in log.take()
    assert not parser.refit_from_file(str(tmp_path / "missing"))


def test_what_was_not_built_for_it_cannot_be_refitted(log):
    trt, _ = load()
    loaded = engine(log, build(log, weighted()))
    with pytest.raises(TypeError, match="nullptr"):
        trt.Refitter(loaded, log)
    assert "not refittable" in log.take()
