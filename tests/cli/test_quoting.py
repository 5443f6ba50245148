"""What is typed on the command line reaches the recipe as it was meant, or is one error."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from deploy.cli.compose import compose
from deploy.cli.quoting import legal_words
from deploy.cli.word_values import joined
from deploy.cli.words import expand_words
from deploy.recipe.schema import Recipe, RecipeError
from tests.helpers.commands import run_here

ONNX = ("+model=onnx", "+backend=onnxruntime")
NAMES = ["467", "on", "off", "yes", "null", "true", "1e3", "1_000", "0x10", "007", "12:30",
         "2020-01-01", "1.50", "+5", "nan", ".5", "a=b", "a b", "/a/b:0", "a(b)", "a[0]", "größe",
         "it's", "a\\b", "x/y.1"]  # fmt: skip


def recipe(*words: str, folder: Path | None = None) -> Recipe:
    file = () if any(word.startswith("model.file=") for word in words) else ("model.file=x.onnx",)
    return compose([*ONNX, *file, *words], folder)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_a_tensor_is_the_text_that_was_typed(name):
    cuts = recipe(f"partition.cuts=[{name},[{name}, b]]").partition.cuts
    assert cuts == [name, [name, "b"]]
    segments = (
        f"partition.segments=[{{name: s, start: [{name}], end: [{name}], outputs: [{name}]}}]"
    )
    (segment,) = recipe(segments).partition.segments
    assert (segment.start, segment.end, segment.outputs) == ([name], [name], [name])
    (host,) = recipe(f"partition.host=[{{name: h, id: i, inputs: [{name}]}}]").partition.host
    assert host.inputs == [name]


@pytest.mark.parametrize("name", ["467", "on", "0x10", "007", "in:0", "input.1", "a=b", "/a/b"])
def test_a_key_is_the_text_that_was_typed(name):
    assert list(recipe(f"model.inputs={{{name}: {{shape: [1, 4]}}}}").model.inputs) == [name]
    assert list(recipe(f"model.marks={{{name}: {{module: a.0}}}}").model.marks) == [name]
    outputs = f"partition.host=[{{name: h, id: i, outputs: {{{name}: {{shape: [4]}}}}}}]"
    assert list(recipe(outputs).partition.host[0].outputs) == [name]


@pytest.mark.parametrize("name", ["null", "1e3", "1_000", "true", "1.0"])
def test_a_key_that_hydra_cannot_quote_is_an_error_whose_remedy_holds(name, tmp_path):
    with pytest.raises(
        RecipeError, match=rf"key {name} of model.inputs: expected a text, got what"
    ):
        recipe(f"model.inputs={{{name}: {{shape: [1, 4]}}}}")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(
        f"name: mine\nfile: x.onnx\ninputs: {{'{name}': {{shape: [1, 4]}}}}\n"
    )
    words = ("+model=mine", "+backend=onnxruntime")
    assert list(compose(words, tmp_path).model.inputs) == [name]


@pytest.mark.parametrize(
    "text",
    ["a=b.onnx", "a b.onnx", "a(1).onnx", "a,b.onnx", "a[1].onnx", "C:\\x.onnx", "a{1}.onnx", "5",
     "héé ü.onnx", "o's.onnx", 'a"b.onnx', "(a.onnx"],
)  # fmt: skip
def test_a_path_is_the_text_that_was_typed(text):
    assert recipe(f"model.file={text}").model.file == text
    assert recipe(f"model.samples={text}").model.samples == text
    assert recipe(f"bundle={text}").bundle.folder == text


@pytest.mark.parametrize(
    ("word", "cuts"),
    [
        ("partition.cuts=467", ["467"]),
        ("partition.cuts=a=b", ["a=b"]),
        ("partition.cuts=a,b", ["a", "b"]),
        ("partition.cuts=['a,b',\"467\"]", ["a,b", "467"]),
        ("partition.cuts=[]", []),
    ],
)
def test_one_text_is_a_list_of_it(word, cuts):
    assert recipe(word).partition.cuts == cuts


def test_numbers_stay_numbers_where_they_are_wanted():
    model = recipe("model.inputs={x: {shape: [1, n, 4]}}", "model.dynamic={n: [1, 2, 3]}").model
    assert model.inputs["x"].shape == [1, "n", 4] and model.dynamic == {"n": [1, 2, 3]}
    assert recipe("model.params={width: 4, deep: {on: true}}").model.params == {
        "width": 4,
        "deep": {"on": True},
    }
    assert recipe("model.weights=null").model.weights is None


def test_words_that_the_shell_has_split_in_brackets_are_one_again():
    words = shlex.split("model.inputs={x: {shape: [1, 4]}} bench.runs=0")
    assert joined(words) == ["model.inputs={x: {shape: [1, 4]}}", "bench.runs=0"]
    assert recipe(*words).model.inputs["x"].shape == [1, 4]


@pytest.mark.parametrize(
    ("word", "jobs"),
    [
        ("model.file=a=1.onnx,b.onnx", ["a=1.onnx", "b.onnx"]),
        ("model.name=1e3,on", ["1e3", "on"]),
        ("model.name=choice(a,b)", ["a", "b"]),
        ("model.name='a,b',c", ["a,b", "c"]),
    ],
)
def test_a_sweep_has_a_job_for_each_text(word, jobs):
    words = legal_words(["-m", word])[1:]
    (lists,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words), None)
    key = word.partition("=")[0].partition(".")[2]
    assert [getattr(recipe(*job).model, key) for job in lists] == jobs


def test_a_sweep_over_lists_has_a_job_for_each_list():
    (word,) = legal_words(["-m", "partition.cuts=[467],[a=b,on]"])[1:]
    (lists,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides([word]), None)
    assert [recipe(*job).partition.cuts for job in lists] == [["467"], ["a=b", "on"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.params={a: 1"], "'model.params={a: 1' is no legal word: expected key=text"),
        (["model.inputs={x: {shape: [1}}"], "got brackets or quotes that do not match"),
        (["partition.cuts=[a]b"], "such as 'partition.cuts=['\"'\"'a=b'"),
        (["model.file=my", "model.onnx"], "'model.onnx': expected key=value, got a word without"),
    ],
)
def test_what_can_be_meant_in_several_ways_is_one_sentence(words, message):
    with pytest.raises(RecipeError) as raised:
        recipe(*words)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_the_example_of_an_error_is_taken():
    with pytest.raises(RecipeError) as raised:
        recipe("partition.cuts=[a]b")
    (word,) = shlex.split(str(raised.value).rpartition("such as ")[2].rstrip("."))
    assert recipe(word).partition.cuts == ["a=b", "[c]"]


@pytest.mark.parametrize("text", ["on", "no", "1e3", "1.5", "null", "~"])
def test_a_name_in_a_file_that_yaml_turns_into_something_else_is_an_error(text, tmp_path):
    (tmp_path / "partition").mkdir()
    file = tmp_path / "partition" / "mine.yaml"
    file.write_text(f"cuts: [a, {text}]\n")
    with pytest.raises(RecipeError, match=r"partition\.cuts\.1: expected a text, got .*in quotes"):
        recipe("+partition=mine", folder=tmp_path)
    file.write_text(f"cuts: [a, '{text}']\n")
    assert recipe("+partition=mine", folder=tmp_path).partition.cuts == ["a", text]


def test_whole_numbers_in_a_file_are_names(tmp_path):
    (tmp_path / "partition").mkdir()
    text = "cuts: [[467, 477]]\nhost: [{name: h, id: i, inputs: [5], outputs: {7: {shape: [1]}}}]\n"
    (tmp_path / "partition" / "mine.yaml").write_text(text)
    partition = recipe("+partition=mine", folder=tmp_path).partition
    assert partition.cuts == [["467", "477"]]
    assert (partition.host[0].inputs, list(partition.host[0].outputs)) == (["5"], ["7"])


def test_words_of_hydra_and_of_the_shipped_configuration_are_as_they_were():
    words = ["-m", "--config-dir", "a b", "hydra.sweep.dir=x=1", "model=yolov3",
             "+backend@chain.part0=ncnn,openvino", "backend.precision=fp32,fp16", "~model.eval",
             "+model.params.cfg='{a: 1}'", "+recipe=digits_phone", "code=nets"]  # fmt: skip
    assert legal_words(words) == words
    assert legal_words(["model.params.width=3"]) == ["++model.params.width=3"]
    assert legal_words(["model.pre.mean=[1,2,3]"]) == ["++model.pre.mean=[1,2,3]"]
    expanded = expand_words(["bundle=a=b", "model=yolov3"])
    assert legal_words(expanded) == ["bundle.folder='a=b'", "+model=yolov3"]


def test_the_main_job_takes_such_words(tmp_path):
    done = run_here("deploy", *ONNX, "model.file=no=ne.onnx", "partition.cuts=[467]", cwd=tmp_path)
    assert done.returncode == 1
    assert "no=ne.onnx" in done.stderr and "Traceback" not in done.stderr
    assert "hydra.cc" not in done.stderr
