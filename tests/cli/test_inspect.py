"""What there is to cut can be seen before anything is converted."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import onnx
import pytest

from backends.codec import from_json
from backends.contract import Segment, TensorSpec
from deploy.analysis.inspect_tables import Inspection, inspection_json, show
from deploy.analysis.plan import Plan, plan_segment, plan_svg
from deploy.analysis.survey import survey
from deploy.export.onnx_export import export
from deploy.graph.exported import Exported
from deploy.placement.record import PlacedBorder, PlacedRegion, PlacementRecord, RefusedOperator
from deploy.report.chain_diagram import bytes_of
from deploy.report.console import TerminalConsole
from tests.helpers.chains import along_batch, mark_of, net, samples
from tests.helpers.commands import error_of, output_of, run_here, run_process

SKIP = """<ir_version: 10, opset_import: ["" : 20]>
g (float[2,3] x) => (float[2,3] y)
<float[3,3] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0}, float[3] bias = {1.0, 2.0, 3.0}>
{
  scaled = Add(bias, bias)
  a = MatMul(x, w)
  b = Relu(a)
  c = Neg(b)
  d = Add(c, a)
  y = Mul(d, scaled)
}"""


@pytest.fixture
def skip_graph(tmp_path):
    path = tmp_path / "skip.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(SKIP)), path)
    return Exported(path, (TensorSpec("x", "float32", (2, 3)),), by_name=True)


def test_only_tensors_that_nothing_bypasses_are_listed(skip_graph):
    assert [cut.point for cut in survey(skip_graph).tensors] == ["a", "d"]


def test_parameters_and_flops_are_counted_on_both_sides_of_a_cut(skip_graph):
    found = survey(skip_graph)
    a, d = found.tensors
    assert (a.before.parameters, a.before.flops) == (9, 2 * 2 * 3 * 3)
    assert (a.after.parameters, a.after.flops) == (3, 4 * 6)
    assert (d.before.parameters, d.after.parameters) == (9, 3)
    assert found.total.parameters == 12
    assert [str(spec) for spec in a.tensors] == ["float32[2, 3]"]


def test_a_mark_that_does_not_cut_alone_says_what_else_crosses(tmp_path):
    found = survey(export(net(), samples(), tmp_path))
    cuts = {cut.point: cut for cut in found.marks}
    assert cuts["stem:output"].legal
    assert not cuts["twice:output"].legal  # the stem's skip goes round it
    assert len(cuts["twice:output"].slips) == 1
    assert cuts["head:input"].legal  # with all of its tensors
    assert len(cuts["head:input"].tensors) == 4


def test_flops_of_dynamic_sizes_are_those_of_the_typical_size(tmp_path):
    fixed = survey(export(net(), samples(2), tmp_path / "fixed"))
    free = survey(export(net(), samples(2), tmp_path / "free", along_batch(samples(), 1, 2, 4)))
    assert fixed.total == free.total


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        (TensorSpec("x", "float32", (2, 3)), 24),
        (TensorSpec("x", "float32", None), None),
        (TensorSpec("x", "object", (2,)), None),
        (TensorSpec("x", "bfloat16", (2,)), 4),
    ],
)
def test_bytes_are_told_where_they_are_known(spec, size):
    assert bytes_of(spec) == size


def words(svg: str) -> str:
    return " ".join(ElementTree.fromstring(svg).itertext()).replace("\N{NO-BREAK SPACE}", " ")


def test_the_drawing_shows_what_the_host_does_between_segments(skip_graph, tmp_path):
    x, y = (TensorSpec(name, "float32", (2, 3)) for name in ("x", "y"))
    boxes = TensorSpec("boxes", "float32", (2, 3))
    one = Segment("one", skip_graph.onnx, (x,), (y,))
    two = Segment("two", skip_graph.onnx, (boxes,), (TensorSpec("z", "float32", (2, 3)),))
    plan = Plan((plan_segment(one), plan_segment(two)), (x,), ("z",))
    text = words(plan_svg("net", plan))
    for word in ("input", "one", "two", "the host", "makes what no segment does", "output"):
        assert word in text
    assert "boxes float32[2, 3] 24 B" in text
    with_post = words(plan_svg("net", Plan((plan_segment(one),), (x,), ("y",), "net.post")))
    assert "net.post" in with_post and "output y" not in with_post


@pytest.fixture
def placed_plan(skip_graph):
    """Two segments of two engines, with the border between them, an input and an output."""
    x, y, a = (TensorSpec(name, "float32", (2, 3)) for name in "xya")
    segments = (
        Segment("one", skip_graph.onnx, (x,), (a,)),
        Segment("two", skip_graph.onnx, (a,), (y,)),
    )
    node = "Relu 'b' in module head"
    record = PlacementRecord(
        ("alpha", "beta"),
        (
            PlacedRegion("one", "alpha", 1, 18, (("MatMul", 1),), "MatMul 'a'", "MatMul 'a'"),
            PlacedRegion("two", "beta", 4, 0, (("Relu", 1),), node, "Mul 'y'"),
        ),
        (PlacedBorder("a", "float32[2, 3]", 24, "one", "two", node, "alpha has no Relu"),),
        (RefusedOperator("alpha", "Relu", "alpha has no Relu", 1, node),),
    )
    planned = tuple(plan_segment(segment) for segment in segments)
    return Plan(planned, (x,), ("y",), placement=record)


def test_a_plan_with_a_placement_is_drawn_by_engine_in_one_column(placed_plan):
    text = plan_svg("net", placed_plan)
    said = words(text)
    for part in ("alpha 100 % of multiply-adds", "1  one", "beta", "4 nodes, 0 % of", "x", "y"):
        assert part in said
    assert "<title>a\nRelu 'b' in module head: alpha has no Relu</title>" in text
    assert 'class="segment colour1"' in text and 'class="segment colour2"' in text


def test_a_placement_is_printed_with_its_reasons_in_the_place_of_the_cut_points(
    placed_plan, skip_graph, capsys
):
    shown = Inspection("net", skip_graph.inputs, survey(skip_graph), placed_plan)
    show(TerminalConsole(width=80), shown, every=False)
    printed = capsys.readouterr().out
    assert "Relu 'b' in module head: alpha has no Relu" in printed
    assert "legal" not in printed and "takes" not in printed.partition("one")[2]
    show(TerminalConsole(width=80), shown, every=True)
    assert "legal alone" in capsys.readouterr().out


def test_the_json_of_a_plan_has_its_placement(placed_plan, skip_graph):
    shown = Inspection("net", skip_graph.inputs, survey(skip_graph), placed_plan)
    kept = json.loads(json.dumps(inspection_json(shown)))["placement"]
    assert from_json(PlacementRecord, kept, "placement") == placed_plan.placement
    alone = replace(shown, plan=replace(placed_plan, placement=None))
    assert inspection_json(alone)["placement"] is None


@pytest.fixture
def skip_graph_folder(skip_graph, tmp_path):
    return tmp_path


def test_a_file_is_listed_drawn_and_cut(skip_graph_folder):
    printed = output_of(
        "deploy", "inspect", "skip.onnx", "partition.cuts=[a]", cwd=skip_graph_folder
    )
    for word in ("tensor to cut at", "9 + 3", "36 + 24", "part0", "part1", "netron plans/skip/seg"):
        assert word in printed
    assert (skip_graph_folder / "plans" / "skip" / "segments" / "part1.onnx").is_file()
    assert "part1" in words((skip_graph_folder / "plans" / "skip" / "plan.svg").read_text())
    output_of("deploy", "inspect", "skip.onnx", cwd=skip_graph_folder)  # over the earlier plan


def test_the_listing_is_there_as_json(skip_graph_folder):
    printed = output_of(
        "deploy", "inspect", "skip.onnx", "--json", "--out", "p", cwd=skip_graph_folder
    )
    found = json.loads(printed)
    assert found == json.loads((skip_graph_folder / "p" / "plan.json").read_text())
    assert [cut["point"] for cut in found["tensors"]] == ["a", "d"]
    assert found["tensors"][0]["bytes"] == 24
    assert found["segments"][0]["parameters"] == 12


def test_sizes_that_a_file_leaves_open_do_not_keep_it_from_being_looked_at(skip_graph_folder):
    model = onnx.load(skip_graph_folder / "skip.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    del model.graph.value_info[:]
    onnx.save(model, skip_graph_folder / "open.onnx")
    assert "tensor to cut at" in output_of("deploy", "inspect", "open.onnx", cwd=skip_graph_folder)


def test_a_configured_model_is_listed_with_its_marks_and_host_step(tmp_path):
    printed = output_of("deploy", "inspect", "yolov3", "+partition=by_stage", cwd=tmp_path)
    for word in ("backbone:output", "neck:output", "yolo_head:input", "2.47G", "head"):
        assert word in printed
    assert "yolov3.maps" in words((tmp_path / "plans" / "yolov3" / "plan.svg").read_text())


def test_what_can_be_cut_is_shown_beside_the_cut_that_cannot(skip_graph_folder):
    ended = run_here("deploy", "inspect", "skip.onnx", "partition.cuts=[b]", cwd=skip_graph_folder)
    assert ended.returncode == 1
    assert "tensor to cut at" in ended.stdout
    message = "tensors bypass the cut at [b]: they are computed before it and used behind it"
    assert message in ended.stderr
    assert "also 'a' from MatMul" in ended.stderr and "cuts: [[..., a]]" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["yolov4"], "Did you mean yolov3?"),
        (["+model=yolov4"], "Did you mean yolov3?"),
        (["none.onnx"], "model 'none.onnx': expected an ONNX file, got nothing"),
        (["skip.onnx", "--out", "mine"], "'mine' is needed for the files of this run"),
        (["skip.onnx", "partition.cut=[a]"], "Could not override 'partition.cut'"),
    ],
)
def test_bad_input_is_one_error_and_leaves_nothing(skip_graph_folder, arguments, message):
    (skip_graph_folder / "mine").mkdir()
    (skip_graph_folder / "mine" / "thesis.txt").touch()
    assert message in error_of("deploy", "inspect", *arguments, cwd=skip_graph_folder)


def test_netron_is_named_where_it_is_missing(skip_graph_folder, monkeypatch):
    (skip_graph_folder / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'netron' else find(name, *rest)\n"
    )
    ended = run_process(
        "deploy",
        "inspect",
        "skip.onnx",
        "--netron",
        cwd=skip_graph_folder,
        PYTHONPATH=str(skip_graph_folder),
    )
    assert ended.returncode == 1
    assert "Netron is not installed. Run: pip install netron" in ended.stderr


def test_netron_opens_the_segment_that_was_asked_for(skip_graph_folder):
    (skip_graph_folder / "netron.py").write_text("import sys; print('opened', *sys.argv[1:])")
    words_ = ("deploy", "inspect", "skip.onnx", "partition.cuts=[a]")
    ended = run_process(
        *words_, "--netron", "part1", cwd=skip_graph_folder, PYTHONPATH=str(skip_graph_folder)
    )
    assert "opened --browse plans/skip/segments/part1.onnx" in ended.stdout, ended.stderr
    ended = run_process(
        *words_, "--netron", "part7", cwd=skip_graph_folder, PYTHONPATH=str(skip_graph_folder)
    )
    assert "--netron: expected one of part0, part1, got part7" in ended.stderr


def test_marks_of_an_exported_file_are_places_too(tmp_path):
    text = f"""<ir_version: 10, opset_import: ["" : 20, "deploy" : 1]>
    g (float[2,3] x) => (float[2,3] y) {{
      a = Relu(x)
      {mark_of("m", "middle", "a")}
      y = Neg(m)
    }}"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "marked.onnx")
    printed = output_of("deploy", "inspect", "marked.onnx", "partition.cuts=[middle]", cwd=tmp_path)
    assert "middle:output" in printed and "part1" in printed
