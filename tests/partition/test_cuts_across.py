"""Cuts across the whole model: its parts leave nothing out, and no tensor bypasses a cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from backends.contract import TensorSpec
from deploy.export.onnx_export import export, reference_values
from deploy.graph.exported import Exported
from deploy.graph.points import MarkedTensor
from deploy.mark import mark
from deploy.partition.cut_points import Cut, PartitionError
from deploy.partition.segments import partition
from tests.helpers.chains import along_batch, arrays, chain, from_text, mark_of, net, run, samples
from tests.helpers.cuts_across import (
    HEADER,
    X,
    assert_refused,
    cut_across_and_compare,
    input_mark,
    inputs_of,
    outputs_of,
    text_model,
)

BORDERS = {
    "one": [["stem"]],
    "one at two points": [["stem:output", "middle:output"]],
    "one at the nested inputs of the head": [["head:input"]],
    "two with a skip over the second": [["stem"], ["middle"]],
    "two, where the second names the first again": [["stem"], ["stem", "middle", "twice[1]"]],
    "three": [["stem"], ["middle"], ["twice[1]", "head:input.maps.deep.1"]],
    "three, one of them also at an output": [["stem"], ["middle"], ["means", "head:input"]],
}


@pytest.fixture
def cut_across(exported_marked_net, tmp_path):
    return lambda *across: partition(exported_marked_net, [], tmp_path, across=across)


@pytest.mark.parametrize("across", BORDERS.values(), ids=BORDERS)
def test_the_chain_is_the_whole_and_every_tensor_is_the_reference(
    exported_marked_net, tmp_path, across
):
    cutting = cut_across_and_compare(
        exported_marked_net, tmp_path, *across, inputs=arrays(samples())
    )
    assert [segment.name for segment in cutting.segments] == [
        f"part{number}" for number in range(len(across) + 1)
    ]
    assert {"logits", "means"} <= set(cutting.points.values())
    expected, values = (
        reference_values(net(), samples()),
        chain(cutting.segments, arrays(samples())),
    )
    for name, key in cutting.points.items():
        np.testing.assert_allclose(values[name], expected[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("across", BORDERS.values(), ids=BORDERS)
def test_a_dynamic_batch_survives(tmp_path, across):
    exported = export(net(), samples(), tmp_path, along_batch(samples(), 1, 2, 4))
    for batch in (1, 3):
        cut_across_and_compare(exported, tmp_path, *across, inputs=arrays(samples(batch)))


def test_a_bare_mark_means_its_outputs(cut_across):
    assert cut_across(["stem"]).points == cut_across(["stem:output"]).points
    assert outputs_of(cut_across(["stem"]))[0] == ["stem"]
    cutting = cut_across(["stem"], ["middle", "twice[1]"])
    assert outputs_of(cutting)[1] == ["middle", "twice"]
    assert cutting.points["twice"] == "twice[1]:output.twice"


def test_a_bare_mark_without_outputs_means_its_inputs(tmp_path):
    body = ["a = Neg(x)", input_mark("b", "m", "a"), "y = Relu(b)"]
    cutting = cut_across_and_compare(text_model(tmp_path, "x", "y", *body), tmp_path, ["m"])
    assert cutting.points == {"x": "x", "m": "m:input.m", "y": "y"}


def test_the_models_inputs_reach_later_parts_directly(cut_across):
    cutting = cut_across(["stem"], ["middle"])
    assert inputs_of(cutting) == [["image"], ["stem"], ["bias", "stem", "middle"]]
    assert outputs_of(cutting) == [["stem"], ["middle"], ["logits", "means"]]


def test_an_output_is_given_by_the_first_part_that_computes_it(tmp_path):
    body = ["early = Neg(x)", "a = Abs(early)", mark_of("m", "m", "a"), "y = Relu(m)"]
    cutting = cut_across_and_compare(text_model(tmp_path, "x", "y,early", *body), tmp_path, ["m"])
    assert outputs_of(cutting) == [["m", "early"], ["y"]]
    assert cutting.results == ("y", "early")


def test_nothing_follows_a_last_cut_at_the_models_end(tmp_path):
    body = ["a = Neg(x)", mark_of("m", "m", "a"), "y = Relu(m)"]
    cutting = cut_across_and_compare(text_model(tmp_path, "x", "y", *body), tmp_path, ["m"], ["y"])
    assert outputs_of(cutting) == [["m"], ["y"]]


def test_the_first_part_gives_outputs_that_depend_on_nothing(tmp_path):
    weights = "<float[2,3] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}>"
    body = ["a = Neg(x)", mark_of("m", "m", "a"), "y = Relu(m)", "c = Neg(w)"]
    model = text_model(tmp_path, "x", "y,c,w", *body, weights=weights)
    cutting = cut_across_and_compare(model, tmp_path, ["m"])
    assert outputs_of(cutting) == [["m", "c", "w"], ["y"]]


def test_an_output_that_is_an_input_comes_from_the_first_part_or_from_outside(tmp_path):
    body = [mark_of("x2", "n", "x"), "a = Neg(x)", mark_of("m", "m", "a"), "y = Relu(m)"]
    cutting = cut_across_and_compare(text_model(tmp_path, "x", "y,x2", *body), tmp_path, ["m"])
    assert outputs_of(cutting) == [["m", "x2"], ["y"]]
    assert cutting.results == ("y", "x2")
    cutting = cut_across_and_compare(text_model(tmp_path, "x", "y,x", *body), tmp_path, ["m"])
    assert outputs_of(cutting) == [["m"], ["y"]]
    assert cutting.results == ("y", "x")


def test_the_results_and_marks_of_the_chains_tensors_are_told(cut_across):
    cutting = cut_across(["stem"], ["middle"], ["means"])
    assert cutting.results == ("logits", "means")
    assert cutting.marks == {
        "image": ("stem:input.image",),
        "stem": ("stem:output.stem", "twice:input.x", "head:input.maps.skip"),
        "middle": ("middle:output.middle", "twice[1]:input.x"),
        "bias": ("head:input.bias",),
        "means": ("head:output.means",),
        "logits": ("head:output.logits",),
    }


def test_a_border_whose_short_name_is_taken_has_its_whole_point(tmp_path):
    body = ["a = Neg(x)", mark_of("b", "x", "a"), "c = Abs(b)", mark_of("d", "y", "c")]
    exported = text_model(tmp_path, "x", "y", *body, "y = Relu(d)")
    cutting = cut_across_and_compare(exported, tmp_path, ["x"], ["y:output"])
    assert outputs_of(cutting) == [["x:output.x"], ["y:output.y"], ["y"]]


def test_an_output_at_a_border_has_the_name_of_the_border(tmp_path):
    body = ["early = Neg(x)", mark_of("m", "m", "early"), "y = Relu(m)"]
    cutting = cut_across_and_compare(text_model(tmp_path, "x", "y,early", *body), tmp_path, ["m"])
    assert outputs_of(cutting) == [["m"], ["y"]]
    assert cutting.results == ("y", "m")
    body = ["a = Neg(x)", mark_of("y", "m", "a")]
    exported = text_model(tmp_path, "x", "y", *body)
    with pytest.raises(PartitionError, match="part empty"):
        partition(exported, [], tmp_path, across=[["m"], ["y"]])
    cutting = cut_across_and_compare(exported, tmp_path, ["m"])
    assert outputs_of(cutting) == [["m"]]
    assert cutting.results == ("m",)


@pytest.mark.parametrize(
    ("across", "message"),
    [
        ([["stem"], ["stem"]], r"the cut at \[stem\] leaves a part empty: .*Leave it out"),
        ([["stem:input"]], r"the cut at \[stem:input\] leaves a part empty: .*the model starts"),
        ([["middle"], ["twice[1]:input"]], r"cut at \[twice\[1\]:input\] leaves a part empty"),
        (
            [["stem", "middle"], ["twice"]],
            r"the cut at \[twice\]: twice:output.twice is computed before an earlier cut already: "
            r"got Tanh '.*'\. List the cuts in the order of the data flow",
        ),
        (
            [["middle"]],
            r"tensors bypass the cut at \[middle\]: they are computed before it and used "
            r"behind it: expected only tensors that the cuts name, got also '(\w+)' from Relu .*, "
            r"used by .*\. Mark them too, and add them to the cut: cuts: \[\[\.\.\., \1\]\]",
        ),
        ([[]], r"cut at \[\]: expected at least one point, got none"),
        (
            [["stm:output"]],
            r"unknown mark 'stm' in the cut at \[stm:output\]: .*Did you mean stem:output",
        ),
        ([["stem:"]], r"malformed point in the cut at \[stem:\].*got 'stem:'. Did you mean stem:"),
        ([["logit"]], r"malformed point in the cut.*one of logits, means, got 'logit'.*n logits"),
        ([["twice[2]"]], r"malformed point in the cut at \[twice\[2\]\].* Did you mean twice:"),
        ([["twice[2]:output"]], r"no point 'twice\[2\]:output' in the cut.*expected twice:input"),
        (
            [["bias"]],
            r"malformed point in the cut at \[bias\].*or one of logits, means, got 'bias'",
        ),
    ],
)
def test_a_cut_that_cannot_be_made_says_why(exported_marked_net, tmp_path, across, message):
    assert_refused(exported_marked_net, tmp_path, message, *across)


def test_noise_crosses_a_border_and_is_made_once(tmp_path):
    body = ["r = RandomUniform<shape = [2, 3]>()", "a = Add(x, r)", "b = Exp(a)", "y = Mul(b, r)"]
    exported = text_model(tmp_path, "x", "y", *body)
    exported = replace(exported, by_name=True)
    explicit = [Cut("one", ["x"], ["a", "r"]), Cut("two", ["a", "r"], ["y"])]
    for cuts, across in (((), [["a", "r"]]), (explicit, ())):
        segments = partition(exported, cuts, tmp_path / "cut", across=across).segments
        values = chain(segments, X)
        assert np.allclose(values["y"], np.exp(values["a"]) * values["r"])
        assert np.allclose(values["a"], X["x"] + values["r"])


def test_nodes_may_be_in_any_order(tmp_path):
    model = onnx.parser.parse_model(
        "<ir_version: 10, opset_import: ['' : 20]> g (float[2,3] x) => (float[2,3] y) "
        "{ a = Neg(x) b = Exp(a) y = Abs(b) }".replace("'", '"')
    )
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, tmp_path / "odd.onnx")
    exported = Exported(tmp_path / "odd.onnx", (TensorSpec("x", "float32", (2, 3)),), by_name=True)
    segments = partition(exported, [], tmp_path / "cut", across=[["a"], ["b"]]).segments
    assert np.allclose(chain(segments, X)["y"], np.exp(-X["x"]))


def test_a_constant_is_no_place_to_cut(tmp_path):
    weights = "<float[3] w = {1.0, 2.0, 3.0}>"
    body = [mark_of("v", "v", "w"), "n = Neg(w)", mark_of("o", "o", "n"), "a = Add(x, v)"]
    body += [mark_of("m", "m", "a"), "y = Add(m, o)"]
    exported = text_model(tmp_path, "x", "y", *body, weights=weights)
    message = r"the cut at \[{}\]: {} is the same in every run: got {}\. Every part gets its own"
    assert_refused(exported, tmp_path, message.format("v", "v:output.v", "a weight"), ["v"])
    assert_refused(exported, tmp_path, message.format("m, o", "o:output.o", "Neg '.*'"), ["m", "o"])
    with pytest.raises(PartitionError, match=r"copy of constants: write \[m:output\.m\]\."):
        partition(exported, [], tmp_path, across=[["m", "o:output.o"]])
    assert inputs_of(cut_across_and_compare(exported, tmp_path, ["m"])) == [["x"], ["m"]]


@pytest.mark.parametrize("point", ["layer", "layer:input"])
def test_a_whole_mark_is_cut_without_its_constants_and_without_what_nothing_uses(tmp_path, point):
    weights = "<float[3] w = {1.0, 2.0, 3.0}>"
    body = [
        "a = Neg(x)",
        input_mark("h", "layer", "a").replace('path = "layer"', 'path = "states"'),
    ]
    body += ["n = Abs(w)", input_mark("m", "layer", "n").replace('path = "layer"', 'path = "mask"')]
    body += ["y = Add(h, m)"]
    exported = text_model(tmp_path, "x", "y", *body, weights=weights)
    unused = MarkedTensor("layer", 0, "input", "position_ids")
    exported = replace(exported, marks=(*exported.marks, unused))
    assert inputs_of(cut_across_and_compare(exported, tmp_path, [point])) == [["x"], ["states"]]
    named = "layer:input.mask"
    assert_refused(exported, tmp_path, rf"{named} is the same in every run: got Abs", [named])
    named = "layer:input.position_ids"
    assert_refused(exported, tmp_path, rf"the exporter dropped {named}", [named])


def test_a_whole_mark_is_cut_without_what_each_part_computes_from_sizes(tmp_path):
    class Masked(nn.Module):
        def forward(self, x):
            @mark("layer")
            def layer(states, mask):
                return (states * mask).relu()

            return layer(x * 2, torch.ones(x.shape).cumsum(0))

    inputs = {"x": torch.rand(2, 3)}
    exported = export(Masked(), inputs, tmp_path, along_batch(inputs, 1, 2, 5))
    cutting = partition(exported, [], tmp_path / "cut", across=[["layer:input"]])
    assert inputs_of(cutting) == [["x"], ["states"]]
    for batch in (1, 4):
        values = arrays({"x": torch.rand(batch, 3)})
        (whole,) = run(exported.onnx, values).values()
        assert (chain(cutting.segments, values)["output"] == whole).all()


def test_an_end_that_is_constant_says_what_to_write(tmp_path):
    weights = "<float[3] w = {1.0, 2.0, 3.0}>"
    body = ["a = Neg(x)", mark_of("m", "m", "a"), "n = Abs(w)", mark_of("o", "o", "n")]
    exported = text_model(tmp_path, "x", "y", *body, "y = Add(m, o)", weights=weights)
    cut = Cut("body", ["x"], ["m:output", "o:output"])
    with pytest.raises(PartitionError, match=r"constants: write end: \[m:output\.m\] for 'body'"):
        partition(exported, [cut], tmp_path)


def test_noise_on_both_sides_bypasses_the_cut(tmp_path):
    body = ["z = RandomNormal<shape = [2, 3]>()", "a = Add(x, z)", mark_of("m", "m", "a")]
    exported = text_model(tmp_path, "x", "y", *body, "y = Add(m, z)")
    assert_refused(
        exported, tmp_path, r"tensors bypass.*got also 'z' from RandomNormal .*, used by Add", ["m"]
    )


def test_every_bypassing_tensor_is_named_and_can_be_added(tmp_path):
    body = ["p = Neg(x)", "q = Abs(p)", "r = Relu(q)", "a = Mul(q, r)", mark_of("m", "m", "a")]
    body += ["s = Add(p, q)", "t = Add(s, r)", "y = Add(t, m)"]
    exported = text_model(tmp_path, "x", "y", *body)
    message = r"tensors bypass the cut at \[{}\].*used by Add .*; and '\w'.*{} to the cut: "
    names = r"cuts: \[\[\.\.\., [pqr], [pqr], [pqr]\]\]"
    assert_refused(
        exported, tmp_path, message.format("m", "Mark them too, and add them") + names, ["m"]
    )
    exported = replace(exported, by_name=True)
    assert_refused(exported, tmp_path, message.format("a", "Add them") + names, ["a"])
    cut_across_and_compare(exported, tmp_path, ["a", "p", "q", "r"])
    cut_across_and_compare(exported, tmp_path, ["p"], ["q"], ["m", "r"])


def test_a_tensor_that_bypasses_two_cuts_is_to_be_added_to_the_first(tmp_path):
    body = ["p = Neg(x)", "a = Abs(p)", mark_of("m", "m", "a"), "b = Relu(m)", "q = Abs(b)"]
    body += [mark_of("n", "n", "b"), "r = Add(n, p)", "y = Add(r, q)"]
    exported = replace(text_model(tmp_path, "x", "y", *body), by_name=True)
    message = r"bypass the cut at \[{}\]:.*also '{}' from .*\[\[\.\.\., {}\]\]"
    assert_refused(exported, tmp_path, message.format("m", "p", "p"), ["m"], ["n", "q"])
    assert_refused(exported, tmp_path, message.format("q", "b", "b"), ["m", "p"], ["q"])
    cut_across_and_compare(exported, tmp_path, ["m", "p"], ["n", "q"])
    cut_across_and_compare(exported, tmp_path, ["m", "p"], ["q", "b"])


def test_a_dropped_mark_is_named(tmp_path):
    exported = text_model(tmp_path, "x", "y", "a = Neg(x)", mark_of("m", "m", "a"), "y = Abs(m)")
    gone = MarkedTensor("m", 0, "output", "gone")
    exported = replace(exported, marks=(*exported.marks, gone))
    named = "m:output.gone"
    assert_refused(
        exported, tmp_path, rf"'{named}' in the cut at \[{named}\]: .*dropped {named}", [named]
    )
    cut_across_and_compare(exported, tmp_path / "all", ["m"])
    cut_across_and_compare(exported, tmp_path, ["m:output.m"])


def test_a_size_is_read_where_each_part_has_it_in_whatever_order_they_are_listed(tmp_path):
    folder = tmp_path / "whole"
    text = f"""{HEADER} g (float[s] x) => (int64[1] o, float[u] w)
    <float[u] a, float[u] b, int64[1] k, float[u] f, int64[1] three = {{3}}>
    {{
      zero = Constant<value = float {{0.0}}>()
      c = Greater(x, zero)
      a = Compress(x, c)
      {mark_of("m0", "m", "a")}
      b = Neg(m0)
      {mark_of("n0", "n", "b")}
      k = Shape<start = 0, end = 1>(a)
      o = Mul(k, three)
      one = Constant<value = float {{1.0}}>()
      f = Expand(one, k)
      w = Add(n0, f)
    }}"""
    exported = from_text(text, folder)
    first, second = Cut("b", ["x"], ["o"]), Cut("c", ["n:output"], ["w"])
    for cuts in ([first, second], [second, first]):
        segments = {s.name: s for s in partition(exported, cuts, tmp_path).segments}
        x = {"x": np.array([1, -1, 2], np.float32)}
        assert run(segments["b"].onnx, x)["o"].tolist() == [6]
        n = {"n": np.array([1, 2, 3, 4], np.float32)}
        assert run(segments["c"].onnx, n)["w"].tolist() == [2, 3, 4, 5]


class MaskedLayer(nn.Module):
    """Computes an additive mask of its own, as attention does."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x, mask):
        return self.linear(x).softmax(-1) + torch.where(mask > 0, 0.0, -10.0)


class MaskedNet(nn.Module):
    """Two layers; or the mask once, with weights, for both."""

    def __init__(self, weighted=False):
        super().__init__()
        self.first, self.second = MaskedLayer(), MaskedLayer()
        self.weight = nn.Linear(8, 8) if weighted else nn.Identity()

    @mark("middle", outputs=["y"])
    def middle(self, x, mask):
        return self.first(x, mask)

    def forward(self, x, mask):
        weighted = self.weight(mask.float())
        return self.second(self.middle(x, weighted), weighted)


MASKED = {"x": torch.rand(1, 8), "mask": torch.tensor([[1, 1, 1, 1, 0, 0, 1, 0]])}


def test_a_mask_that_the_exporter_merged_is_computed_again_behind_the_cut(tmp_path):
    exported = export(MaskedNet().eval(), MASKED, tmp_path)
    cutting = cut_across_and_compare(
        exported, tmp_path / "segments", ["middle"], inputs=arrays(MASKED)
    )
    first, second = cutting.segments
    assert [spec.name for spec in first.inputs] == ["x", "mask"]
    assert sorted(spec.name for spec in second.inputs) == ["mask", "y"]


def test_what_is_computed_with_weights_is_not_computed_twice(tmp_path):
    exported = export(MaskedNet(weighted=True).eval(), MASKED, tmp_path)
    with pytest.raises(PartitionError, match="tensors bypass the cut at"):
        partition(exported, [], tmp_path / "segments", across=[["middle"]])
