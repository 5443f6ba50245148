"""What handover.json holds: all that is needed, nothing of this machine, and the same each time."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from backends.codec import from_json, to_json
from backends.contract import DeployError, TensorSpec
from backends.conversion_files import write_sample
from deploy.bundle import write_picture
from deploy.handover.collect import collect_handover, write_handover
from deploy.handover.facts import Handover
from deploy.handover.formulas import FormulaError, constants_of, effective_params, formula_of
from deploy.handover.stored_arrays import stored_arrays
from deploy.runtime.bundle.integrity import verify_all
from deploy.runtime.bundle.manifest import (
    HANDOVER,
    HostStep,
    PostStep,
    StateTensor,
    TextStep,
    read_manifest,
)
from deploy.runtime.execution.host_steps import registered_host_steps
from deploy.runtime.execution.post_steps import registered_posts
from deploy.runtime.execution.text_front_ends import registered_text_front_ends
from deploy.runtime.results.detections import Detections
from tests.conftest import other, step

STEPS = {**registered_posts(), **registered_host_steps(), **registered_text_front_ends()}


def facts_of(bundle) -> Handover:
    return from_json(Handover, json.loads((bundle / HANDOVER).read_text()), HANDOVER)


@pytest.mark.parametrize("id", STEPS)
def test_every_step_of_this_package_tells_its_formula(id):
    formula = formula_of(STEPS[id])
    assert formula, f"{id}: write a section Formula into the docstring"
    names = {word for line in formula for word in line.split("``")[1::2]}
    assert names, f"{id}: name the parameters and tensors between double backticks"


def test_a_bundle_carries_it_with_its_hash_and_the_same_bundle_gives_the_same_bytes(
    detector_for_an_app,
):
    manifest, written = read_manifest(detector_for_an_app), detector_for_an_app / HANDOVER
    assert manifest.files[HANDOVER].kind == "handover"
    before = written.read_bytes()
    write_handover(detector_for_an_app, manifest)
    assert written.read_bytes() == before
    verify_all(detector_for_an_app, manifest)
    assert to_json(facts_of(detector_for_an_app)) == json.loads(before)


def test_it_has_no_path_of_this_machine(detector_for_an_app):
    text = (detector_for_an_app / HANDOVER).read_text()
    assert str(detector_for_an_app.parent) not in text
    assert "/home" not in text and "/tmp" not in text and "/root" not in text


def test_every_file_that_it_names_is_there_with_its_hash(detector_for_an_app):
    facts = facts_of(detector_for_an_app)
    files = [file for step in facts.steps for choice in step.engines for file in choice.files]
    assert facts.sample.picture is not None
    for file in [*files, facts.sample.picture]:
        data = (detector_for_an_app / file.file).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (file.sha256, file.size)


def test_an_fp32_net_has_half_precision_turned_off(detector_for_an_app):
    (step,) = facts_of(detector_for_an_app).steps
    engine = step.engines[0].engine
    assert engine is not None
    half = {name: value for name, value in engine.settings.items() if "16" in name}
    assert half and not any(half.values())
    for name in half:
        assert f"    net.opt.{name} = false;" in engine.example


def test_arrays_are_read_at_their_place_without_the_files_format(detector_for_an_app):
    path = detector_for_an_app / "sample" / "tensors.npz"
    data = path.read_bytes()
    with np.load(path) as stored:
        for item in stored_arrays(detector_for_an_app, "sample/tensors.npz"):
            part = data[item.offset : item.offset + item.size]
            array = np.frombuffer(part, np.dtype(item.dtype).newbyteorder("<"))
            np.testing.assert_array_equal(array.reshape(item.shape), stored[item.name])


def test_a_sample_of_transposed_tensors_and_results_has_its_places(tmp_path):
    specs = (TensorSpec("x", "float32", (2, 3)), TensorSpec("one", "int64", ()))
    values = {"x": np.arange(6, dtype=np.float32).reshape(3, 2).T, "one": np.array(7)}
    write_sample(tmp_path / "a.npz", specs, (), values, compressed=False)
    first, second = stored_arrays(tmp_path, "a.npz")
    assert (first.name, first.shape, second.shape) == ("input/x", (2, 3), ())
    data = (tmp_path / "a.npz").read_bytes()[first.offset : first.offset + first.size]
    assert np.frombuffer(data, "<f4").tolist() == [0, 2, 4, 1, 3, 5]
    boxes = np.asfortranarray(np.arange(8, dtype=np.float32).reshape(2, 4))
    result = Detections(boxes, np.ones(2, np.float32), np.zeros(2, np.int64))
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    (tmp_path / "sample").mkdir()
    write_picture(tmp_path, tmp_path / "picture.png", result, None, ())
    assert stored_arrays(tmp_path, "sample/result.npz")[0].shape == (2, 4)


def test_a_state_has_its_first_values(make_bundle):
    specs = [TensorSpec(name, "float32", (1, 2)) for name in ("x", "y")]
    bundle = make_bundle()
    write_sample(bundle / "state.npz", specs[:1], (), {"x": np.ones((1, 2))}, compressed=False)
    manifest = replace(
        read_manifest(bundle), state=(StateTensor("x", "y"),), initial_state="state.npz"
    )
    facts = collect_handover(bundle, manifest)
    assert facts.state == manifest.state
    assert [(item.name, item.size) for item in facts.initial_state] == [("input/x", 8)]


def test_a_compressed_array_has_no_place(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(DeployError, match=r"'x.npy' of 'a.npz': .* got a compressed one"):
        stored_arrays(tmp_path, "a.npz")


def test_a_fortran_array_has_no_place(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.asfortranarray(np.ones((2, 3))))
    with pytest.raises(DeployError, match="in C order, got another order"):
        stored_arrays(tmp_path, "a.npz")


def test_steps_come_in_the_order_of_their_calls_with_their_alternatives(make_bundle):
    first, second = step("first", "x", "h"), step("second", "h", "y")
    bundle = make_bundle([(second, 2.0), (first, 3.0)], [(other(first), 3.0)])
    facts = collect_handover(bundle, read_manifest(bundle))
    assert [item.name for item in facts.steps] == ["first", "second"]
    assert [choice.precision for choice in facts.steps[0].engines] == ["fp32", "fp16"]
    assert facts.steps[0].engines[0].engine is None  # this backend says nothing of apps
    assert facts.agreement.tensors["y"].max_rel == 1e-3


def test_an_engine_that_the_device_builds_has_what_is_known(make_bundle):
    bundle = make_bundle()
    manifest = read_manifest(bundle)
    pending = replace(manifest.steps[0], files=(), source=manifest.steps[0].files)
    facts = collect_handover(bundle, replace(manifest, steps=(pending,)))
    (choice,) = facts.steps[0].engines
    assert choice.pending and not choice.files and choice.engine is None
    assert [file.file for file in choice.source] == ["one/factor.txt"]


def test_a_step_of_ones_own_has_the_formula_of_its_docstring(make_bundle, monkeypatch):
    from deploy.runtime.execution.own_posts import register_code

    def halve(y, *, limit: float = 0.5, rule: object = sum):
        """Values to halves.

        Formula:
            1. Each value is divided by 2,
               up to ``limit``.
        """

    monkeypatch.setattr("deploy.runtime.execution.own_posts._OWN", {})
    post = PostStep(register_code(halve, "mine.halve"), ("y",), {})
    bundle = make_bundle(post=post)
    facts = collect_handover(bundle, read_manifest(bundle)).post
    assert facts is not None
    assert facts.formula == ("Each value is divided by 2, up to ``limit``.",)
    assert (facts.parameters, facts.result, facts.placing) == ({"limit": 0.5}, "Values", ())


def test_a_code_without_a_formula_or_signature_has_none():
    assert formula_of(dict) == () and effective_params(dict, {"a": (1, 2)}) == {"a": [1, 2]}
    assert constants_of("a", dict, {}) == {}


def test_constants_that_fail_name_their_step():
    class Step:
        @staticmethod
        def formula_constants(size):
            return {"half": 1 / size}

    assert constants_of("mine", Step, {"size": 2}) == {"half": 0.5}
    with pytest.raises(FormulaError, match="of step 'mine' fails with ZeroDivisionError"):
        constants_of("mine", Step, {"size": 0})


def test_a_loop_of_a_host_step_names_what_it_calls(make_bundle):
    params = {"start": 0, "end": 1, "pad": 0, "steps": 4}
    memory, tokens = TensorSpec("memory", "float32", (1, 6, 8)), TensorSpec("tokens", "int64", None)
    loop = HostStep("loop", "seq2seq.greedy", (memory,), (tokens,), params, calls=("one",))
    text = TextStep("words", {"lower": True})
    bundle = make_bundle(host=(loop,), inputs=(memory,), outputs=(tokens,), text=text, sample=None)
    facts = collect_handover(bundle, read_manifest(bundle))
    first, called = facts.steps
    assert first.calls == ("one",) and called.called_by == ("loop",)
    assert first.code is not None and first.code.parameters == {
        **params,
        "first": None,
        "last": None,
    }
    assert facts.text is not None and facts.text.parameters["lower"] is True
