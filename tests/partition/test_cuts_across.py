"""Cuts across the whole model: its parts leave nothing out, and no tensor bypasses a cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from backends.contract import Dynamic, TensorSpec
from deploy.export.onnx_export import export, reference_values
from deploy.graph.exported import Exported
from deploy.graph.points import MarkedTensor
from deploy.partition.cut_points import Cut, PartitionError
from deploy.partition.segments import partition
from tests.helpers.chains import along_batch, arrays, chain, from_text, mark_of, net, run, samples

HEADER = '<ir_version: 10, opset_import: ["" : 20, "deploy" : 1, "custom" : 3]>\n'
X = {"x": np.arange(6, dtype=np.float32).reshape(2, 3) - 2}
TYPE = "float[2,3]"

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


def text_model(folder, inputs, outputs, *body, weights="", functions=""):
    """A graph of float[2,3] tensors."""

    def typed(names):
        return ", ".join(f"{TYPE} {name}" if " " not in name else name for name in names.split(","))

    lines = "\n".join(body)
    text = f"{HEADER} g ({typed(inputs)}) => ({typed(outputs)}) {weights} {{ {lines} }} {functions}"
    return from_text(text, folder / "whole")


def input_mark(result, name, source):
    return mark_of(result, name, source).replace('side = "output"', 'side = "input"')


def inputs_of(cutting):
    return [[spec.name for spec in segment.inputs] for segment in cutting.segments]


def outputs_of(cutting):
    return [[spec.name for spec in segment.outputs] for segment in cutting.segments]


def chained(exported, folder, *across, inputs=X):
    """The cutting; its chain gives what the whole model gives."""
    cutting = partition(exported, [], folder / "cut", across=across)
    values = chain(cutting.segments, inputs)
    for name, whole in run(exported.onnx, inputs).items():
        assert any(np.array_equal(values[result], whole) for result in cutting.results), name
    return cutting


@pytest.mark.parametrize("across", BORDERS.values(), ids=BORDERS)
def test_the_chain_is_the_whole_and_every_tensor_is_the_reference(
    exported_marked_net, tmp_path, across
):
    cutting = chained(exported_marked_net, tmp_path, *across, inputs=arrays(samples()))
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
        chained(exported, tmp_path, *across, inputs=arrays(samples(batch)))


def test_a_bare_mark_means_its_outputs(cut_across):
    assert cut_across(["stem"]).points == cut_across(["stem:output"]).points
    assert outputs_of(cut_across(["stem"]))[0] == ["stem"]
    cutting = cut_across(["stem"], ["middle", "twice[1]"])
    assert outputs_of(cutting)[1] == ["middle", "twice"]
    assert cutting.points["twice"] == "twice[1]:output.twice"


def test_a_bare_mark_without_outputs_means_its_inputs(tmp_path):
    body = ["a = Neg(x)", input_mark("b", "m", "a"), "y = Relu(b)"]
    cutting = chained(text_model(tmp_path, "x", "y", *body), tmp_path, ["m"])
    assert cutting.points == {"x": "x", "m": "m:input.m", "y": "y"}


def test_the_models_inputs_reach_later_parts_directly(cut_across):
    cutting = cut_across(["stem"], ["middle"])
    assert inputs_of(cutting) == [["image"], ["stem"], ["bias", "stem", "middle"]]
    assert outputs_of(cutting) == [["stem"], ["middle"], ["logits", "means"]]


def test_an_output_is_given_by_the_first_part_that_computes_it(tmp_path):
    body = ["early = Neg(x)", "a = Abs(early)", mark_of("m", "m", "a"), "y = Relu(m)"]
    cutting = chained(text_model(tmp_path, "x", "y,early", *body), tmp_path, ["m"])
    assert outputs_of(cutting) == [["m", "early"], ["y"]]
    assert cutting.results == ("early", "y")


def test_nothing_follows_a_last_cut_at_the_models_end(tmp_path):
    body = ["a = Neg(x)", mark_of("m", "m", "a"), "y = Relu(m)"]
    cutting = chained(text_model(tmp_path, "x", "y", *body), tmp_path, ["m"], ["y"])
    assert outputs_of(cutting) == [["m"], ["y"]]


def test_the_first_part_gives_outputs_that_depend_on_nothing(tmp_path):
    weights = "<float[2,3] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}>"
    body = ["a = Neg(x)", mark_of("m", "m", "a"), "y = Relu(m)", "c = Neg(w)"]
    model = text_model(tmp_path, "x", "y,c,w", *body, weights=weights)
    cutting = chained(model, tmp_path, ["m"])
    assert outputs_of(cutting) == [["m", "c", "w"], ["y"]]


def test_an_output_that_is_an_input_comes_from_the_first_part_or_from_outside(tmp_path):
    body = [mark_of("x2", "n", "x"), "a = Neg(x)", mark_of("m", "m", "a"), "y = Relu(m)"]
    cutting = chained(text_model(tmp_path, "x", "y,x2", *body), tmp_path, ["m"])
    assert outputs_of(cutting) == [["m", "x2"], ["y"]]
    assert cutting.results == ("x2", "y")
    cutting = chained(text_model(tmp_path, "x", "y,x", *body), tmp_path, ["m"])
    assert outputs_of(cutting) == [["m"], ["y"]]
    assert cutting.results == ("y", "x")


def test_the_results_and_marks_of_the_chains_tensors_are_told(cut_across):
    cutting = cut_across(["stem"], ["middle"], ["means"])
    assert cutting.results == ("means", "logits")
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
    cutting = chained(exported, tmp_path, ["x"], ["y:output"])
    assert outputs_of(cutting) == [["x:output.x"], ["y:output.y"], ["y"]]


def test_an_output_at_a_border_has_the_name_of_the_border(tmp_path):
    body = ["early = Neg(x)", mark_of("m", "m", "early"), "y = Relu(m)"]
    cutting = chained(text_model(tmp_path, "x", "y,early", *body), tmp_path, ["m"])
    assert outputs_of(cutting) == [["m"], ["y"]]
    assert cutting.results == ("m", "y")
    body = ["a = Neg(x)", mark_of("y", "m", "a")]
    exported = text_model(tmp_path, "x", "y", *body)
    with pytest.raises(PartitionError, match="part empty"):
        partition(exported, [], tmp_path, across=[["m"], ["y"]])
    cutting = chained(exported, tmp_path, ["m"])
    assert outputs_of(cutting) == [["m"]]
    assert cutting.results == ("m",)


def refuse(exported, folder, message, *across):
    with pytest.raises(PartitionError, match=message):
        partition(exported, [], folder, across=across)
    assert not list(folder.glob("*.onnx")), "nothing half-written is left behind"


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
    refuse(exported_marked_net, tmp_path, message, *across)


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
    message = r"the cut at \[{}\]: {} is the same in every run: got {}.*Leave it out"
    refuse(exported, tmp_path, message.format("v", "v:output.v", "a weight"), ["v"])
    refuse(exported, tmp_path, message.format("m, o", "o:output.o", "Neg '.*'"), ["m", "o"])
    assert inputs_of(chained(exported, tmp_path, ["m"])) == [["x"], ["m"]]


def test_noise_on_both_sides_bypasses_the_cut(tmp_path):
    body = ["z = RandomNormal<shape = [2, 3]>()", "a = Add(x, z)", mark_of("m", "m", "a")]
    exported = text_model(tmp_path, "x", "y", *body, "y = Add(m, z)")
    refuse(
        exported, tmp_path, r"tensors bypass.*got also 'z' from RandomNormal .*, used by Add", ["m"]
    )


def test_every_bypassing_tensor_is_named_and_can_be_added(tmp_path):
    body = ["p = Neg(x)", "q = Abs(p)", "r = Relu(q)", "a = Mul(q, r)", mark_of("m", "m", "a")]
    body += ["s = Add(p, q)", "t = Add(s, r)", "y = Add(t, m)"]
    exported = text_model(tmp_path, "x", "y", *body)
    message = r"tensors bypass the cut at \[{}\].*used by Add .*; and '\w'.*{} to the cut: "
    names = r"cuts: \[\[\.\.\., [pqr], [pqr], [pqr]\]\]"
    refuse(exported, tmp_path, message.format("m", "Mark them too, and add them") + names, ["m"])
    exported = replace(exported, by_name=True)
    refuse(exported, tmp_path, message.format("a", "Add them") + names, ["a"])
    chained(exported, tmp_path, ["a", "p", "q", "r"])
    chained(exported, tmp_path, ["p"], ["q"], ["m", "r"])


def test_a_tensor_that_bypasses_two_cuts_is_to_be_added_to_the_first(tmp_path):
    body = ["p = Neg(x)", "a = Abs(p)", mark_of("m", "m", "a"), "b = Relu(m)", "q = Abs(b)"]
    body += [mark_of("n", "n", "b"), "r = Add(n, p)", "y = Add(r, q)"]
    exported = replace(text_model(tmp_path, "x", "y", *body), by_name=True)
    message = r"bypass the cut at \[{}\]:.*also '{}' from .*\[\[\.\.\., {}\]\]"
    refuse(exported, tmp_path, message.format("m", "p", "p"), ["m"], ["n", "q"])
    refuse(exported, tmp_path, message.format("q", "b", "b"), ["m", "p"], ["q"])
    chained(exported, tmp_path, ["m", "p"], ["n", "q"])
    chained(exported, tmp_path, ["m", "p"], ["q", "b"])


def test_a_dropped_mark_is_named(tmp_path):
    exported = text_model(tmp_path, "x", "y", "a = Neg(x)", mark_of("m", "m", "a"), "y = Abs(m)")
    gone = MarkedTensor("m", 0, "output", "gone")
    exported = replace(exported, marks=(*exported.marks, gone))
    refuse(exported, tmp_path, r"'m:output' in the cut at \[m\]: .*dropped m:output.gone", ["m"])
    chained(exported, tmp_path, ["m:output.m"])


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


# ---- by name ----


def by_name(folder, inputs, outputs, *body, **more):
    exported = text_model(folder, inputs, outputs, *body, **more)
    return replace(exported, by_name=True, marks=())


IF = """y = If(c) <
    then_branch = yes () => (float[2,3] p) { inside = Neg(a) p = Relu(inside) },
    else_branch = no () => (float[2,3] q) { q = Identity(a) }
  >"""
LOOP = """y = Loop(n, c, a) <
    body = step (int64 i, bool go, float[2,3] v) => (bool more, float[2,3] w)
      { more = Identity(go) inside = Neg(v) w = Relu(inside) }
  >"""
SCAN = """y = Scan <num_scan_inputs = 1,
    body = step (float[3] v) => (float[3] w) { inside = Neg(v) w = Relu(inside) }
  > (a)"""
TWICE = """<domain: "custom", opset_import: ["" : 20]>
  Twice (p) => (q) { inside = Neg(p) q = Add(p, inside) }"""
CONTROL = {
    "If": ("x,bool c", IF, ""),
    "Loop": ("x,int64 n,bool c", LOOP, ""),
    "Scan": ("x", SCAN, ""),
    "function 'custom::Twice'": ("x", "y = custom.Twice(a)", TWICE),
}


@pytest.mark.parametrize("of", CONTROL)
def test_a_tensor_inside_a_body_is_refused_with_the_operation(tmp_path, of):
    inputs, node, functions = CONTROL[of]
    exported = by_name(tmp_path, inputs, "y", "a = Neg(x)", node, functions=functions)
    message = rf"'inside' in the {{}} lies inside the body of {of}.*Cut before or after"
    refuse(exported, tmp_path, message.format(r"cut at \[inside\]"), ["inside"])
    for cut in (Cut("s", ["inside"], ["y"]), Cut("s", ["x"], ["inside"])):
        with pytest.raises(PartitionError, match=message.format(".* of segment 's'")):
            partition(exported, [cut], tmp_path)
    assert outputs_of(partition(exported, [], tmp_path, across=[["a"]])) == [["a"], ["y"]]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("of", CONTROL)
def test_a_mark_inside_a_body_is_refused_with_the_operation(tmp_path, of, named):
    inputs, node, functions = CONTROL[of]
    node, functions = (
        text.replace("inside = Neg(v)", mark_of("inside", "deep", "v"))
        .replace("inside = Neg(a)", mark_of("inside", "deep", "a"))
        .replace("inside = Neg(p)", mark_of("inside", "deep", "p"))
        .replace('[""', '["deploy" : 1, ""')
        for text in (node, functions)
    )
    body = ["b = Neg(x)", mark_of("a", "top", "b"), node]
    exported = text_model(tmp_path, inputs, "y", *body, functions=functions)
    exported = replace(exported, by_name=named)
    message = rf"'deep:output.*' in the .* lies inside the body of {of}"
    for point in ("deep:output", "deep:output.deep"):
        refuse(exported, tmp_path, message, [point])
        with pytest.raises(PartitionError, match=message):
            partition(exported, [Cut("s", [point], ["y"])], tmp_path)
    cutting = partition(exported, [], tmp_path, across=[["top"]])
    assert outputs_of(cutting) == [["top"], ["y"]]
    for segment in cutting.segments:
        onnx.checker.check_model(str(segment.onnx))
        assert "deploy" not in {entry.domain for entry in onnx.load(segment.onnx).opset_import}


def test_an_unknown_tensor_is_refused_with_the_nearest(tmp_path):
    exported = by_name(tmp_path, "x", "y", "hidden = Neg(x)", "y = Relu(hidden)")
    message = r"unknown tensor 'hiden' in the {}: .*got none of that name. Did you mean hidden\?"
    refuse(exported, tmp_path, message.format(r"cut at \[hiden\]"), ["hiden"])
    with pytest.raises(PartitionError, match=message.format("end of segment 's'")):
        partition(exported, [Cut("s", ["x"], ["hiden"])], tmp_path)
    with pytest.raises(PartitionError, match=r"unknown tensor 'hidden:0' in the start.*n hidden\?"):
        partition(exported, [Cut("s", ["hidden:0"], ["y"])], tmp_path)


def test_tensors_of_any_name_are_places(tmp_path):
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(
            [
                onnx.helper.make_node("Neg", ["x"], ["/a/b:0 [1]"]),
                onnx.helper.make_node("Relu", ["/a/b:0 [1]"], ["y"]),
            ],
            "g",
            [onnx.helper.make_tensor_value_info("x", 1, [2, 3])],
            [onnx.helper.make_tensor_value_info("y", 1, [2, 3])],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.save(proto, tmp_path / "odd.onnx")
    exported = Exported(tmp_path / "odd.onnx", (TensorSpec("x", "float32", (2, 3)),), by_name=True)
    assert outputs_of(chained(exported, tmp_path, ["/a/b:0 [1]"])) == [["/a/b:0 [1]"], ["y"]]


def test_what_is_no_tensor_is_refused_by_name(tmp_path):
    body = ["s = SequenceConstruct(x, x)", "n = SequenceLength(s)", "f = Cast<to = 1>(n)"]
    exported = by_name(tmp_path, "x", "y", *body, "y = Mul(x, f)")
    refuse(exported, tmp_path, r"value 's' cannot cross a border: .*got Sequence", ["s"])
    chained(exported, tmp_path, ["n"])
    body = ["o = Optional(x)", "y = OptionalGetElement(o)"]
    exported = by_name(tmp_path, "x", "y", *body)
    refuse(exported, tmp_path, r"value 'o' cannot cross a border: .*got Optional", ["o"])


def varying(folder):
    """A batch that varies, and a number of rows that depends on the data."""
    text = f"""{HEADER} g (float[batch,3] x) => (float[found,3] y)
    {{
      a = Neg(x)
      i = NonZero(a)
      t = Transpose(i)
      rows = GatherND(a, t)
      wide = Unsqueeze(rows, one)
      y = Mul(wide, w)
    }}"""
    text = text.replace("{\n", "<int64[1] one = {1}, float[3] w = {1.0, 2.0, 3.0}> {\n", 1)
    exported = from_text(text, folder / "whole")
    spec = TensorSpec("x", "float32", (Dynamic("batch", 1, 2, 8), 3))
    return Exported(exported.onnx, (spec,), by_name=True)


def sized(folder, dynamic):
    cuts = [Cut("a", ["x"], ["rows"]), Cut("b", ["rows"], ["y"], None, dynamic)]
    return partition(varying(folder), cuts, folder / "cut").segments[1]


def test_a_size_of_one_segment_alone_has_the_range_it_is_given(tmp_path):
    span = Dynamic("rows", 1, 4, 9)
    (rows,) = sized(tmp_path, {"rows": {0: span}}).inputs
    (dim,) = rows.dims
    assert (dim.min, dim.opt, dim.max) == (1, 4, 9)
    (anything,) = sized(tmp_path, {}).inputs[0].dims
    assert (anything.min, anything.max) == (0, 2**31 - 1)


def test_a_size_may_be_fixed_for_one_segment(tmp_path):
    segment = sized(tmp_path, {"rows": {0: Dynamic("rows", 4, 4, 4)}})
    assert segment.inputs[0].dims == (4,)
    (value,) = onnx.load(segment.onnx).graph.input
    assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [4]
    found = run(segment.onnx, {"rows": np.ones(4, np.float32)})
    assert found["y"].shape == (4, 3)


@pytest.mark.parametrize(
    ("dynamic", "message"),
    [
        (
            {"y": {1: Dynamic("k", 1, 2, 3)}},
            r"dynamic.y.1: expected the size 3, which the model fixes, got 1 to 3. Let it vary in",
        ),
        (
            {"row": {0: Dynamic("k", 1, 2, 3)}},
            r"dynamic.row of segment 'b': expected one of its tensors rows, y, got row",
        ),
        (
            {"x": {0: Dynamic("k", 1, 2, 3)}},
            r"dynamic.x of segment 'b': expected one of its tensors rows, y, got x",
        ),
        ({"rows": {1: Dynamic("k", 1, 2, 3)}}, r"dynamic.rows.1: expected an axis of "),
        ({"rows": {-1: Dynamic("k", 1, 2, 3)}}, r"dynamic.rows.-1: expected an axis of "),
    ],
)
def test_a_size_that_contradicts_the_model_is_refused(tmp_path, dynamic, message):
    with pytest.raises(PartitionError, match=message):
        sized(tmp_path, dynamic)


def test_a_size_that_the_model_fixes_may_be_repeated(tmp_path):
    assert sized(tmp_path, {"y": {1: Dynamic("k", 3, 3, 3)}}).outputs[0].dims[1] == 3
