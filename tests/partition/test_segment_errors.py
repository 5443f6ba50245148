"""Cuts into segments that are refused, each with an error that says why."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.partition.cut_points import Cut, PartitionError
from deploy.partition.segments import partition
from tests.helpers.chains import (
    from_text,
    mark_of,
)
from tests.helpers.cuts_across import HEADER

X = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}


def assert_refused(exported, tmp_path, message, *cuts):
    with pytest.raises(PartitionError, match=message):
        partition(exported, cuts, tmp_path)
    assert not list(tmp_path.glob("*.onnx")), "nothing half-written is left behind"


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (["stm:output"], ["logits"], r"unknown mark 'stm' in the start of segment 's'.*Did you "),
        (["stem:output"], ["heads:output"], r"unknown mark 'heads' in the end.*mean head:output"),
        (["twice[2]:input"], ["logits"], r"no point 'twice\[2\]:input'.*expected twice:input, "),
        (["stem:output"], ["head:input.map"], r"no point.*Did you mean .*head:input.maps"),
        (["stem"], ["logits"], r"malformed point in the start.*got 'stem'. Did you mean stem:"),
        (["stem:in"], ["logits"], r"malformed point.*or one of image, bias, got 'stem:in'"),
        ([], ["logits"], r"start of segment 's': expected at least one point, got none"),
        (["image"], [], r"end of segment 's': expected at least one point, got none"),
        (["stem:output"], ["stem:input"], r"the end stem:input.image of .*depends on no start"),
        (["middle:output"], ["means", "stem:output"], r"depends on middle:output, got Relu"),
        (
            ["stem:output", "bias"],
            ["middle:output"],
            r"no end depends on the start bias of segment 's'",
        ),
        (["stem:output"], ["twice:input"], r"is empty: its end twice:input.x is its start"),
        (["image"], ["logits"], r"expected only image, got also 'bias' from the graph's input"),
        (
            ["middle:output", "bias"],
            ["logits"],
            r"a tensor bypasses the start of segment 's': expected only middle:output.middle, "
            r"bias, got also '.*' from Relu .*, used by Add .*. Mark it too",
        ),
    ],
)
def test_a_cut_that_cannot_be_made_says_why(exported_marked_net, tmp_path, start, end, message):
    assert_refused(exported_marked_net, tmp_path, message, Cut("s", start, end))


def test_a_node_in_two_segments_is_named_with_both(exported_marked_net, tmp_path):
    assert_refused(
        exported_marked_net,
        tmp_path,
        r"(Conv|Relu) '.*is in two segments: 'a' and 'b'. Start 'b' where 'a' ends",
        Cut("a", ["image"], ["stem:output"]),
        Cut("b", ["image"], ["middle:output"]),
    )


def test_the_number_of_output_names_must_fit(exported_marked_net, tmp_path):
    assert_refused(
        exported_marked_net,
        tmp_path,
        r"outputs of segment 's': expected 2 names for logits, means, got 1: a",
        Cut("s", ["stem:output", "bias"], ["logits", "means"], ["a"]),
    )


def test_names_of_segments_are_unique_file_names(exported_marked_net, tmp_path):
    cut = Cut("s", ["image"], ["stem:output"])
    assert_refused(exported_marked_net, tmp_path, "two segments are called 's'", cut, cut)
    wrong = Cut("../s", ["image"], ["stem:output"])
    assert_refused(exported_marked_net, tmp_path, r"name of a segment: .*got '../s'", wrong)


@pytest.mark.parametrize("name", ["image", "middle"])
def test_names_of_tensors_are_unique_in_the_chain(exported_marked_net, tmp_path, name):
    assert_refused(
        exported_marked_net,
        tmp_path,
        f"two tensors of the chain are called '{name}'.*Name the outputs",
        Cut("a", ["image"], ["stem:output"], [name]),
        Cut("b", ["stem:output"], ["middle:output"]),
    )


def test_a_segment_comes_after_those_it_takes_from(exported_marked_net, tmp_path):
    assert_refused(
        exported_marked_net,
        tmp_path,
        "'b' takes 'stem' from the later segment 'a'. List 'a' before it",
        Cut("b", ["stem:output"], ["middle:output"]),
        Cut("a", ["image"], ["stem:output"]),
    )


def test_a_start_that_the_segment_would_compute_itself_is_refused(tmp_path):
    text = f"""{HEADER} g (float[2,3] x) => (float[1,3] y)
    {{
      p, q = Split<axis = 0, num_outputs = 2>(x)
      {mark_of("m", "m", "p")}
      y = Add(m, q)
    }}"""
    exported = from_text(text, tmp_path / "whole")
    message = r"the start m:output.m of segment 's' is computed inside it: got Split"
    assert_refused(exported, tmp_path, message, Cut("s", ["x", "m:output"], ["y"]))


def test_a_border_of_no_tensor_is_refused_by_name(tmp_path):
    text = f"""{HEADER} g (float[2,3] x) => (float[2,3] y)
    {{
      s = SequenceConstruct(x)
      {mark_of("m", "m", "s")}
      i = Constant<value = int64 {{0}}>()
      y = SequenceAt(m, i)
    }}"""
    exported = from_text(text, tmp_path / "whole")
    message = r"value 'm' cannot cross a border: .*got a sequence"
    assert_refused(exported, tmp_path, message, Cut("s", ["m:output"], ["y"]))


def test_a_model_without_marks_says_so(tmp_path):
    exported = from_text(
        f"{HEADER} g (float[2,3] x) => (float[2,3] y) {{ y = Neg(x) }}", tmp_path / "w"
    )
    assert_refused(
        exported, tmp_path, "unknown mark 'm'.*a model with marks", Cut("s", ["x"], ["m:input"])
    )


def test_a_segment_never_overwrites_the_exported_file(exported_marked_net):
    with pytest.raises(PartitionError, match="'exported' would overwrite"):
        partition(
            exported_marked_net,
            [Cut("exported", ["image"], ["stem:output"])],
            exported_marked_net.onnx.parent,
        )
