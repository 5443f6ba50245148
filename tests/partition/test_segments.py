"""Partition: chain = whole wherever the cut is legal, and an error wherever it is not."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from deploy.export.onnx_export import export, reference_values
from deploy.graph.points import MarkedTensor
from deploy.mark import mark, mark_here
from deploy.partition.cut_points import Cut, PartitionError
from deploy.partition.segments import partition
from tests.helpers.chains import (
    along_batch,
    arrays,
    chain,
    cut_and_compare,
    from_text,
    mark_of,
    net,
    run,
    samples,
)

X = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}

MIDDLE = ["middle:output", "stem:output"]  # the skip crosses every border but the stem's
CUTS = {
    "at one mark": [
        Cut("a", ["image"], ["stem:output"]),
        Cut("b", ["stem:output", "head:input.bias"], ["logits", "means"]),
    ],
    "with a skip over the border": [
        Cut("a", ["stem:input"], MIDDLE, ["mid", "skip"]),
        Cut("b", [*MIDDLE, "bias"], ["head:output"]),
    ],
    "between two calls of a mark": [
        Cut("a", ["image"], ["stem:output"]),
        Cut("b", ["twice:input"], ["twice:output"], ["first"]),
        Cut("c", ["twice:output"], ["twice[1]:input"], ["second"]),
        Cut("d", ["twice[1]:input", "stem:output", "bias"], ["head:output"]),
    ],
    "at the nested inputs of the head": [
        Cut("a", ["stem:input"], ["head:input.maps"]),
        Cut("b", ["head:input"], ["head:output"]),
    ],
}


@pytest.fixture
def cut_at(exported_marked_net, tmp_path):
    return lambda *cuts: partition(exported_marked_net, cuts, tmp_path)


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
def test_the_chain_is_the_whole(exported_marked_net, tmp_path, cuts):
    values = cut_and_compare(exported_marked_net, cuts, arrays(samples()), tmp_path)
    whole = run(exported_marked_net.onnx, arrays(samples()))
    logits = values[cuts[-1].end[0] if cuts[-1].end[0] == "logits" else "logits"]
    assert (logits == whole["logits"]).all()


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
def test_every_tensor_of_the_chain_is_the_reference_at_its_point(
    exported_marked_net, tmp_path, cuts
):
    cutting = partition(exported_marked_net, cuts, tmp_path)
    expected = reference_values(net(), samples())
    values = chain(cutting.segments, arrays(samples()))
    assert values.keys() == cutting.points.keys()
    for name, key in cutting.points.items():
        np.testing.assert_allclose(values[name], expected[key], rtol=1e-4, atol=1e-5)


def test_without_cuts_the_whole_model_is_one_segment_without_marks(cut_at):
    cutting = cut_at()
    (segment,) = cutting.segments
    assert segment.name == "model"
    assert cutting.points == {name: name for name in ("image", "bias", "logits", "means")}
    model = ir.load(segment.onnx)
    assert "deploy" not in model.graph.opset_imports
    assert not model.functions
    assert not [node for node in model.graph if node.op_type == "Mark"]


def test_tensors_are_named_by_graph_earlier_segment_or_point(cut_at):
    cutting = cut_at(
        Cut("a", ["stem:input"], ["stem:output"], ["features"]),
        Cut("b", ["twice[1]:input", "stem:output", "head:input.bias"], ["head:output.logits"]),
    )
    first, second = cutting.segments
    assert [spec.name for spec in first.inputs] == ["image"]
    assert [spec.name for spec in first.outputs] == ["features"]
    assert [spec.name for spec in second.inputs] == ["x", "features", "bias"]
    assert [spec.name for spec in second.outputs] == ["logits"]
    assert cutting.points == {
        "image": "image",
        "features": "stem:output.stem",
        "x": "twice[1]:input.x",
        "bias": "bias",
        "logits": "head:output.logits",
    }


def test_each_graph_has_its_segments_name_and_knows_its_modules(cut_at):
    for segment in cut_at(*CUTS["at one mark"]).segments:
        graph = ir.load(segment.onnx).graph
        assert graph.name == segment.name
        assert any("pkg.torch.onnx.name_scopes" in node.metadata_props for node in graph)


def test_a_segment_leaves_out_starts_that_its_ends_do_not_need(cut_at):
    (segment,) = cut_at(Cut("a", ["head:input"], ["means"])).segments
    assert [spec.name for spec in segment.inputs] == ["maps.deep.1"]


def test_marks_inside_a_segment_vanish(cut_at):
    (segment,) = cut_at(Cut("a", ["stem:output"], ["head:input.maps.deep"])).segments
    assert {node.domain for node in ir.load(segment.onnx).graph} == {""}


class Heavy(torch.nn.Module):
    """Weights that are large enough to lie beside the graph."""

    def __init__(self):
        super().__init__()
        self.one, self.two = torch.nn.Linear(40, 40), torch.nn.Linear(40, 40)

    def forward(self, x):
        return self.two(mark_here("middle", self.one(x)))


def test_a_segment_is_one_file_or_has_data_of_its_own(tmp_path):
    exported = export(Heavy(), {"x": torch.rand(1, 40)}, tmp_path)
    cuts = [Cut("a", ["x"], ["middle:output"]), Cut("b", ["middle:output"], ["output"])]
    x = {"x": np.ones((1, 40), np.float32)}
    one = partition(exported, cuts, tmp_path / "one")
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["a.onnx", "b.onnx"]
    two = partition(exported, cuts, tmp_path / "two", inline_bytes=0)
    assert (tmp_path / "two" / "a.onnx.data").stat().st_size == 40 * 40 * 4
    assert (chain(two.segments, x)["output"] == chain(one.segments, x)["output"]).all()


@pytest.mark.parametrize("cuts", [[], *CUTS.values()], ids=["whole", *CUTS])
def test_a_dynamic_batch_survives_the_cut(tmp_path, cuts):
    exported = export(net(), samples(), tmp_path, along_batch(samples(), 1, 2, 4))
    cutting = partition(exported, cuts, tmp_path / "cut")
    for batch in (1, 3, 4):
        expected = reference_values(net(), samples(batch))
        values = chain(cutting.segments, arrays(samples(batch)))
        for name, key in cutting.points.items():
            np.testing.assert_allclose(values[name], expected[key], rtol=1e-4, atol=1e-5)


class Tokens(torch.nn.Module):
    """Asks for the size of the batch behind the border."""

    def __init__(self):
        super().__init__()
        self.token = torch.nn.Parameter(torch.rand(1, 1, 3))

    def forward(self, x):
        x = mark_here("stem", x * 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        return mark_here("tokens", x).transpose(0, 1) + x.shape[0]


def test_a_segment_reads_the_dynamic_size_from_its_own_start(tmp_path):
    sample = {"x": torch.rand(1, 4, 3)}
    exported = export(Tokens(), sample, tmp_path, along_batch(sample, 1, 2, 4))
    cuts = [
        Cut("a", ["x"], ["stem:output"]),
        Cut("b", ["stem:output"], ["tokens:output"]),
        Cut("c", ["tokens:output"], ["output"]),
    ]
    cutting = partition(exported, cuts, tmp_path / "cut")
    assert all(len(segment.inputs) == 1 for segment in cutting.segments)
    for batch in (1, 3, 4):
        x = {"x": torch.rand(batch, 4, 3)}
        whole = run(exported.onnx, arrays(x))["output"]
        assert (chain(cutting.segments, arrays(x))["output"] == whole).all()


class Dropping(torch.nn.Module):
    """Marks two tensors, and goes on with the unmarked one of them."""

    @mark("head")
    def head(self, x, unused):
        return x + 1

    def forward(self, x):
        mark_here("lost", x * 2)
        return self.head(x * 3, x * 5)


def test_a_mark_that_the_exporter_dropped_is_no_place_to_cut(tmp_path):
    exported = export(Dropping(), {"x": torch.rand(2)}, tmp_path)
    with pytest.raises(PartitionError, match=r"'lost:output' in the start.*dropped lost:output"):
        partition(exported, [Cut("a", ["lost:output"], ["output"])], tmp_path)
    with pytest.raises(PartitionError, match=r"dropped head:input.unused. Nothing uses that"):
        partition(exported, [Cut("a", ["x"], ["head:input"])], tmp_path)
    (segment,) = partition(exported, [Cut("a", ["head:input"], ["output"])], tmp_path).segments
    assert [spec.name for spec in segment.inputs] == ["x"]


def test_an_input_whose_short_name_is_taken_has_its_whole_point(tmp_path):
    text = f"""{HEADER} g (float[2,3] x) => (float[2,3] y, float[2,3] z)
    {{
      a = Neg(x)
      {mark_of("m", "y", "a")}
      y = Neg(m)
      z = Neg(x)
    }}"""
    exported = from_text(text, tmp_path / "text")
    cutting = partition(exported, [Cut("s", ["y:output", "x"], ["y", "z"])], tmp_path)
    assert [spec.name for spec in cutting.segments[0].inputs] == ["y:output.y", "x"]
    assert cutting.points["y:output.y"] == "y:output.y"


HEADER = '<ir_version: 10, opset_import: ["" : 20, "deploy" : 1, "custom" : 3]>\n'


def test_values_that_bodies_capture_are_followed(tmp_path):
    text = f"""{HEADER} g (float[2,3] x) => (float[2,3] y)
    <float[3] w = {{1.0, 2.0, 3.0}}>
    {{
      a = Relu(x)
      {mark_of("m", "m", "a")}
      sum = ReduceSum<keepdims = 0>(m)
      zero = Constant<value = float {{0.0}}>()
      more = Greater(sum, zero)
      y = If(more) <
        then_branch = yes () => (float[2,3] p) {{ p = Mul(m, w) }},
        else_branch = no () => (float[2,3] q) {{ q = Identity(a) }}
      >
    }}"""
    exported = from_text(text, tmp_path)
    cuts = [Cut("a", ["x"], ["m:output"], ["c"]), Cut("b", ["m:output"], ["y"])]
    cut_and_compare(exported, cuts, X, tmp_path)


def test_a_value_that_only_a_body_uses_can_bypass_a_start_too(tmp_path):
    text = f"""{HEADER} g (float[2,3] x, bool c) => (float[2,3] y)
    {{
      a = Relu(x)
      s = Neg(x)
      {mark_of("m", "m", "a")}
      y = If(c) <
        then_branch = yes () => (float[2,3] p) {{ p = Mul(m, m) }},
        else_branch = no () => (float[2,3] q) {{ q = Identity(s) }}
      >
    }}"""
    with pytest.raises(PartitionError, match=r"also 's' from Neg.*used by If"):
        partition(from_text(text, tmp_path), [Cut("b", ["m:output", "c"], ["y"])], tmp_path)


def test_constants_are_cloned_into_each_segment_that_uses_them(tmp_path):
    text = f"""{HEADER} g (float[2,3] x) => (float[2,3] y)
    <float[3] w = {{1.0, 2.0, 3.0}}>
    {{
      half = Constant<value = float {{0.5}}>()
      scaled = Mul(w, half)
      a = Mul(x, scaled)
      {mark_of("m", "m", "a")}
      y = Add(m, scaled)
    }}"""
    cuts = [Cut("a", ["x"], ["m:output"], ["c"]), Cut("b", ["m:output"], ["y"])]
    exported = from_text(text, tmp_path)
    cut_and_compare(exported, cuts, X, tmp_path)
    for name in ("a", "b"):
        ops = {node.op_type for node in ir.load(tmp_path / "cut" / f"{name}.onnx").graph}
        assert {"Constant", "Mul"} <= ops


def test_random_nodes_are_not_taken_for_constants(tmp_path):
    text = f"""{HEADER} g (float[2,3] x) => (float[2,3] y)
    {{
      noise = RandomNormal<shape = [2, 3]>()
      a = Add(x, noise)
      {mark_of("m", "m", "a")}
      y = Add(m, noise)
    }}"""
    cuts = [Cut("a", ["x"], ["m:output"], ["c"]), Cut("b", ["m:output"], ["y"])]
    with pytest.raises(PartitionError, match=r"RandomNormal '.*' is in two segments: 'a' and 'b'"):
        partition(from_text(text, tmp_path), cuts, tmp_path)


def test_functions_and_opsets_of_custom_domains_stay_where_they_are_used(tmp_path):
    text = f"""{HEADER} g (float[2,3] x) => (float[2,3] y)
    {{
      a = custom.Twice(x)
      {mark_of("m", "m", "a")}
      y = Neg(m)
    }}
    <domain: "custom", opset_import: ["" : 20]> Twice (p) => (q) {{ q = Add(p, p) }}"""
    cuts = [Cut("a", ["x"], ["m:output"], ["c"]), Cut("b", ["m:output"], ["y"])]
    cut_and_compare(from_text(text, tmp_path), cuts, X, tmp_path)
    first, second = (ir.load(tmp_path / "cut" / f"{name}.onnx") for name in ("a", "b"))
    assert first.graph.opset_imports == {"": 20, "custom": 3}
    assert len(first.functions) == 1
    assert second.graph.opset_imports == {"": 20}
    assert not second.functions


def test_an_inner_value_of_a_borders_name_gives_way(tmp_path):
    text = f"""{HEADER} g (float[2,3] x) => (float[2,3] y)
    {{
      other = Neg(x)
      x2 = Relu(other)
      {mark_of("m", "m", "x2")}
      y = Neg(m)
    }}"""
    cuts = [Cut("a", ["x"], ["m:output"], ["other"]), Cut("b", ["m:output"], ["y"])]
    cut_and_compare(from_text(text, tmp_path), cuts, X, tmp_path)


def test_one_tensor_may_leave_under_two_names(tmp_path):
    text = f"""{HEADER} g (float[2,3] x) => (float[2,3] y, float[2,3] x2, float[2,3] y2)
    {{
      a = Relu(x)
      {mark_of("y", "m", "a")}
      y2 = Identity(y)
      x2 = Identity(x)
    }}"""
    exported = from_text(text, tmp_path)
    values = cut_and_compare(
        exported, [Cut("a", ["x"], ["m:output", "y"], ["u", "v"])], X, tmp_path
    )
    assert (values["u"] == values["v"]).all()


def test_graphs_5000_nodes_deep_can_be_cut(tmp_path):
    body = "\n".join(f"v{i + 1} = Neg(v{i})" for i in range(5000))
    body = body.replace("v2501 = Neg(v2500)", mark_of("v2501", "m", "v2500"))
    text = f"{HEADER} g (float[2,3] v0) => (float[2,3] v5000) {{ {body} }}"
    cuts = [Cut("a", ["v0"], ["m:output"], ["c"]), Cut("b", ["m:output"], ["v5000"])]
    exported = from_text(text, tmp_path)
    cut_and_compare(exported, cuts, {"v0": X["x"]}, tmp_path)


def refuse(exported, tmp_path, message, *cuts):
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
    refuse(exported_marked_net, tmp_path, message, Cut("s", start, end))


def test_a_node_in_two_segments_is_named_with_both(exported_marked_net, tmp_path):
    refuse(
        exported_marked_net,
        tmp_path,
        r"(Conv|Relu) '.*is in two segments: 'a' and 'b'. Start 'b' where 'a' ends",
        Cut("a", ["image"], ["stem:output"]),
        Cut("b", ["image"], ["middle:output"]),
    )


def test_the_number_of_output_names_must_fit(exported_marked_net, tmp_path):
    refuse(
        exported_marked_net,
        tmp_path,
        r"outputs of segment 's': expected 2 names for logits, means, got 1: a",
        Cut("s", ["stem:output", "bias"], ["logits", "means"], ["a"]),
    )


def test_names_of_segments_are_unique_file_names(exported_marked_net, tmp_path):
    cut = Cut("s", ["image"], ["stem:output"])
    refuse(exported_marked_net, tmp_path, "two segments are called 's'", cut, cut)
    wrong = Cut("../s", ["image"], ["stem:output"])
    refuse(exported_marked_net, tmp_path, r"name of a segment: .*got '../s'", wrong)


@pytest.mark.parametrize("name", ["image", "middle"])
def test_names_of_tensors_are_unique_in_the_chain(exported_marked_net, tmp_path, name):
    refuse(
        exported_marked_net,
        tmp_path,
        f"two tensors of the chain are called '{name}'.*Name the outputs",
        Cut("a", ["image"], ["stem:output"], [name]),
        Cut("b", ["stem:output"], ["middle:output"]),
    )


def test_a_segment_comes_after_those_it_takes_from(exported_marked_net, tmp_path):
    refuse(
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
    refuse(exported, tmp_path, message, Cut("s", ["x", "m:output"], ["y"]))


def test_a_border_of_no_tensor_is_refused_by_name(tmp_path):
    text = f"""{HEADER} g (float[2,3] x) => (float[2,3] y)
    {{
      s = SequenceConstruct(x)
      {mark_of("m", "m", "s")}
      i = Constant<value = int64 {{0}}>()
      y = SequenceAt(m, i)
    }}"""
    exported = from_text(text, tmp_path / "whole")
    message = r"value 'm' cannot cross a border: .*got Sequence"
    refuse(exported, tmp_path, message, Cut("s", ["m:output"], ["y"]))


def test_a_model_without_marks_says_so(tmp_path):
    exported = from_text(
        f"{HEADER} g (float[2,3] x) => (float[2,3] y) {{ y = Neg(x) }}", tmp_path / "w"
    )
    refuse(exported, tmp_path, "unknown mark 'm'.*a model with marks", Cut("s", ["x"], ["m:input"]))


def test_a_segment_never_overwrites_the_exported_file(exported_marked_net):
    with pytest.raises(PartitionError, match="'exported' would overwrite"):
        partition(
            exported_marked_net,
            [Cut("exported", ["image"], ["stem:output"])],
            exported_marked_net.onnx.parent,
        )


def test_a_mark_on_a_constant_is_copied_and_not_taken_as_an_input(tmp_path):
    text = f"""{HEADER} g (float[2,3] x) => (float[2,3] y)
    <float[3] w = {{1.0, 2.0, 3.0}}>
    {{
      {mark_of("m", "m", "w")}
      {mark_of("n", "n", "x")}
      y = Add(n, m)
    }}"""
    exported = from_text(text, tmp_path, (MarkedTensor("gone", 0, "input", "x"),))
    cuts = [Cut("a", ["m:output", "n:output"], ["y"])]
    (segment,) = partition(exported, cuts, tmp_path).segments
    assert [spec.name for spec in segment.inputs] == ["x"]
    cut_and_compare(exported, cuts, X, tmp_path)
