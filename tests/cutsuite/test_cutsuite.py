"""Chain = whole: all cuts of the own graphs, a sample of onnx's models, and that it can fail."""

from __future__ import annotations

import json
import re

import numpy as np
import onnx
import pytest

from deploy.partition import segments
from tests.cutsuite import check, partition_faults
from tests.cutsuite.cases import Case, backend_cases
from tests.cutsuite.cli import main
from tests.cutsuite.own import own_cases
from tests.cutsuite.plans import plan, plans
from tests.cutsuite.reading import read
from tests.cutsuite.suite import AT_ONCE, examine
from tests.cutsuite.values import tensor

OWN = {case.name: case for case in own_cases()}
FEW = {"deep": 2}  # cuts of those where all of them would take minutes
REFUSED = {  # cuts at a border that is no tensor, or whose type onnx does not know
    "sequence": 1,
    "sequence_out": 2,
    "sequence_in": 3,
    "sequence_captured": 2,
    "text": 3,
    "optional": 1,
    "other_domains": 2,
}
# of those that scripts/check-cuts uses, 40 drawn at random, and one of fp16; three cuts each
SAMPLE = [
    "test_layer_normalization_4d_axis_negative_2_expanded_ver18",
    "test_softmax_large_number_expanded",
    "test_linear_attention_decode_step_expanded",
    "test_attention_3d_gqa_scaled_expanded",
    "test_elu_expanded_ver18",
    "test_nllloss_NCd1d2d3_sum_weight_high_ii_expanded",
    "test_nllloss_NCd1_ii_expanded",
    "test_less_equal_bcast_expanded",
    "test_thresholdedrelu_default_expanded_ver18",
    "test_greater_equal_uint8_expanded",
    "test_mvn_expanded",
    "test_layer_normalization_3d_axis_negative_2_epsilon_expanded_ver18",
    "test_reduce_log_sum_exp_keepdims_random_expanded",
    "test_center_crop_pad_crop_axes_hwc_expanded",
    "test_nllloss_NCd1d2_with_weight_reduction_sum_expanded",
    "test_gelu_default_1_expanded",
    "test_attention_4d_with_past_and_present_qk_matmul_bias_3d_mask_causal_expanded",
    "test_softmax_example_expanded",
    "test_attention_4d_diff_heads_sizes_causal_expanded",
    "test_rms_normalization_3d_axis0_epsilon_expanded",
    "test_sce_mean_weight_ii_3d_log_prob_expanded",
    "test_dynamicquantizelinear_max_adjusted_expanded",
    "test_reduce_l1_do_not_keepdims_example_expanded",
    "test_reduce_sum_square_keepdims_random_expanded",
    "test_hammingwindow_expanded",
    "test_attention_4d_with_past_and_present_qk_matmul_bias_expanded",
    "test_selu_default_expanded_ver18",
    "test_attention_4d_diff_heads_sizes_scaled_expanded",
    "test_attention_4d_attn_mask_bool_expanded",
    "test_sce_mean_3d_log_prob_expanded",
    "test_layer_normalization_2d_axis1_expanded_ver18",
    "test_logsoftmax_negative_axis_expanded",
    "test_reduce_l2_negative_axes_keep_dims_example_expanded",
    "test_attention_4d_diff_heads_sizes_softcap_expanded",
    "test_sequence_model2",
    "test_sequence_model8",
    "test_PixelShuffle",
    "test_operator_symbolic_override_nested",
    "test_sequence_model4",
    "light_squeezenet",
    "test_attention_4d_fp16_expanded",
]


@pytest.fixture(scope="module")
def package() -> dict[str, Case]:
    return {case.name: case for case in backend_cases()}


@pytest.mark.parametrize("name", OWN)
def test_every_cut_of_an_own_graph_gives_the_whole(name):
    report = examine(OWN[name], FEW.get(name))
    assert not report.left_out
    assert not report.failed
    assert report.refused == REFUSED.get(name, 0)
    assert report.cuts > 0
    assert report.control or report.refused == report.cuts, "a wrong chain would be noticed"


@pytest.mark.parametrize("name", SAMPLE)
def test_cuts_of_a_model_of_the_onnx_package_give_the_whole(package, name):
    report = examine(package[name], 3)
    assert not report.left_out
    assert not report.failed
    assert report.cuts == report.equal + report.within + report.refused > 0


@pytest.mark.parametrize(
    ("name", "cut", "starts", "border", "rest", "ends"),
    [
        ("foldable", "position:4", "x", "a", "a", "y z"),
        ("output_used_inside", "position:2", "x", "a b", "a b", "y z"),
        ("output_used_inside", "ancestors:0", "x", "a", "a", "y z"),
        ("input_under_another_name", "position:1", "x", "same", "x u", "y"),
        ("scan_in_if", "position:3", "x", "a b d", "a b d c", "y"),
        ("several_results", "ancestors:1", "x", "right a", "right a", "y at"),
    ],
)
def test_the_border_is_what_crosses(name, cut, starts, border, rest, ends):
    found = plan(read(OWN[name].model()), cut)
    assert sorted(found.starts) == sorted(starts.split())
    assert sorted(found.border) == sorted(border.split())
    assert sorted(found.rest_starts) == sorted(rest.split())
    assert sorted(found.rest_ends) == sorted(ends.split())


def test_the_cap_takes_positions_and_ancestors_and_no_set_of_nodes_twice():
    reading = read(OWN["whole_numbers"].model())
    every = list(plans(reading, None, ""))
    assert len({(each.border, each.starts, each.rest_ends) for each in every}) == len(every)
    some = [each.name for each in plans(reading, 4, "seed")]
    assert sum(name.startswith("position") for name in some) == 2 == len(some) - 2
    assert some == [each.name for each in plans(reading, 4, "seed")]


def test_a_side_without_a_node_is_no_cut():
    with pytest.raises(ValueError, match=r"'position:3' is no cut: one side .* empty"):
        plan(read(OWN["foldable"].model()), "position:3")


@pytest.mark.parametrize(
    ("spoil", "name", "message"),
    [
        (partition_faults.lose_a_weight, "external_weights", "RuntimeError: In clone_graph"),
        (partition_faults.swap_two_tensors, "output_used_inside", "the outputs differ by up to"),
        (partition_faults.change_a_weight, "foldable", "the outputs differ by up to"),
        (
            partition_faults.forget_what_bodies_capture,
            "if",
            "no end depends on the start . of segment 'b'",
        ),
        (partition_faults.let_sequences_pass, "sequence", "'parts' crossed, and is no tensor"),
        (partition_faults.promise_another_size, "foldable", r"'.*' of .: its spec is float32\[7"),
        (partition_faults.refuse_everything, "foldable", "PartitionError: value 'nobody' cannot"),
    ],
    ids=lambda value: getattr(value, "__name__", "") or value[:18],
)
def test_a_partition_that_is_wrong_is_caught(monkeypatch, spoil, name, message):
    assert not examine(OWN[name], None).failed
    spoil(monkeypatch)
    failed = examine(OWN[name], None).failed
    assert failed
    for why in failed.values():
        assert re.search(message, why)


def test_a_part_that_is_missing_is_caught_where_all_positions_are_cut_at_once(monkeypatch):
    cut_across = segments.cut_across

    def without_the_second(*args):
        first, *rest = cut_across(*args)
        return [first, *rest[1:]] if len(rest) > 1 else [first, *rest]

    monkeypatch.setattr(segments, "cut_across", without_the_second)
    failed = examine(OWN["twice"], None).failed
    assert list(failed) == [AT_ONCE]
    assert "3 parts for 3 cuts" in failed[AT_ONCE]


def test_fp16_alone_may_be_a_little_off(monkeypatch):
    def shifted(*args):
        return {
            name: tensor(one.array + one.array.dtype.type(5e-4)) for name, one in run(*args).items()
        }

    run = check.run
    monkeypatch.setattr(check, "run", shifted)
    assert examine(OWN["half"], 1).within == 1
    assert examine(OWN["foldable"], 1).within == 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(float[2,3] x) => (float[2,3] y) { y = Neg(x) }", "it has one node"),
        (
            "() => (float[2] y) { k = Constant<value_floats = [1.0, 2.0]>()\n y = Neg(k) }",
            "it has no input",
        ),
        (
            "(float[2,3] x) => (float[2,3] y)"
            "{ r = RandomNormal<shape = [2, 3]>()\n a = Add(x, r)\n y = Neg(a) }",
            "two runs of it differ",
        ),
        (
            "(float[2,3] x) => (float[2,3] y){ k = Constant<value_float = 2.0>()\n y = Mul(x, k) }",
            "nothing to cut: fewer than two of its nodes depend on an input",
        ),
        (
            "(float[2,3] x) => (float[2,3] y) { a = custom.Missing(x)\n y = Neg(a) }",
            "ONNX Runtime does not load it",
        ),
        (
            "(float[2,3] x) => (float[7] y) <int64[1] s = {7}> { a = Neg(x)\n y = Reshape(a, s) }",
            "ONNX Runtime does not run it on its inputs",
        ),
    ],
)
def test_a_model_that_proves_nothing_is_left_out_with_the_reason(text, why):
    assert examine(own_case(text), None).left_out == why


def test_a_model_whose_outputs_do_not_depend_on_a_border_is_uninformative():
    report = examine(own_case("(float[2,3] x) => (int64[2] y) { a = Neg(x)\n y = Shape(a) }"), None)
    assert report.equal == 1
    assert report.control == ""


def own_case(text: str) -> Case:
    header = '<ir_version: 10, opset_import: ["" : 21, "custom" : 1]>\ng '
    model = onnx.parser.parse_model(header + text)
    return Case("text", "own", lambda: model, lambda: [[np.ones((2, 3), np.float32)]])


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "object", "bfloat16", "int4"])
def test_tensors_of_any_type_go_in_and_out_and_differ_by_a_bit(dtype):
    array = np.array([0, 1, 1]).astype(np.dtype(dtype) if dtype != "object" else str).astype(dtype)
    other = array[::-1].copy()
    assert tensor(array).array.tolist() == array.tolist()
    assert tensor(array).dtype == dtype
    assert tensor(array).same_as(tensor(array))
    assert not tensor(array).same_as(tensor(other))
    assert not tensor(array).same_as(tensor(array.reshape(3, 1)))


def test_nans_are_equal_and_zeros_of_two_signs_are_not():
    one, two = (np.array([value, 1], np.float32) for value in (np.nan, -np.nan))
    assert tensor(one).same_as(tensor(two))
    assert not tensor(one).close_to(tensor(np.ones(2, np.float32)), 1.0)
    zero, minus = (np.array([value], np.float32) for value in (0.0, -0.0))
    assert not tensor(zero).same_as(tensor(minus))


def test_the_command_exits_with_1_and_says_how_to_repeat_a_failure(monkeypatch, capsys, tmp_path):
    arguments = ["--model", "foldable", "--cut", "position:4", "--json", str(tmp_path / "all.json")]
    assert main("", arguments) == 0
    assert "| bit-equal in every form | 1 of 1 |" in capsys.readouterr().out
    partition_faults.change_a_weight(monkeypatch)
    assert main("", arguments) == 1
    told = capsys.readouterr().out
    assert "FAILED .venv/bin/python scripts/check-cuts --model foldable --cut position:4\n" in told
    assert "| failed | 1 |" in told
    (model,) = json.loads((tmp_path / "all.json").read_text())["models"]
    assert list(model["failed"]) == ["position:4"]


def test_an_unknown_model_is_named_with_those_like_it():
    with pytest.raises(SystemExit, match="no model is called 'foldabel'; there is foldable"):
        main("", ["--model", "foldabel"])
