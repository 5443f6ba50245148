"""What run prints, writes and refuses for bundles that take text, and tensors with results."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from backends.contract import Dynamic, TensorSpec
from deploy.runtime.__main__ import main
from deploy.runtime.bundle.manifest import PostStep, TextStep
from tests.conftest import made_here, step
from tests.fuzzing import seed_bundles

CLASSES = ("no", "yes", "maybe")
TOKENS = PostStep("tokens", ("y",), {"top": 2, "activation": "none"})


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run a command in a folder of its own: exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(bundle: Path, *words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["run", "run", str(bundle), *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
            text = end.code if isinstance(end.code, str) else ""
        captured = capsys.readouterr()
        return code, captured.out, captured.err + (text if code and text else "")

    return run


@pytest.fixture
def larger(make_bundle) -> Path:
    """A bundle that takes two words, and says which one has the larger number."""
    x, y = (TensorSpec(name, "float32", (Dynamic("n", 1, 1, 4), 2)) for name in "xy")
    artifact = replace(step("one", "x", "y"), inputs=(x,), outputs=(y,))
    text = TextStep("words", {"ids": "x"})
    fields = {"inputs": (x,), "outputs": (y,), "classes": CLASSES, "post": TOKENS, "text": text}
    return make_bundle([(artifact, 2.0)], **fields)


@pytest.fixture
def tensors_only(make_bundle) -> Path:
    return make_bundle()


def position(token: int, score: float) -> dict[str, object]:
    return {"token": token, "word": CLASSES[token], "score": score}


def test_texts_are_answered_in_words(larger, run):
    code, out, err = run(larger, "--text", "no yes", "--text", "maybe no")
    assert (code, err) == (0, "")
    assert out == (
        "no yes: yes\n  yes              2.000  no               0.000\n"
        "maybe no: no\n  no               4.000  yes              0.000\n"
    )


def test_a_row_of_json_has_the_text_its_tokens_and_their_words(larger, run):
    code, out, _ = run(larger, "--text", "no yes", "--json", "-")
    (row,) = json.loads(out)
    first = {**position(1, 2.0), "others": [position(0, 0.0)]}
    assert (code, row) == (
        0,
        {"text": "no yes", "tokens": {"text": "yes", "positions": [first]}},
    )


def test_a_file_of_texts_is_run_line_by_line_and_bad_lines_are_reported(larger, run):
    Path("words.txt").write_text("\ufeffno yes\n\nyes secret\nyes no\n", encoding="utf-8")
    code, out, err = run(larger, "words.txt", "--jsonl", "rows.jsonl")
    assert code == 1
    assert "no yes: yes\n" in out and "yes no: no\n" in out
    assert err == (
        "error: 'words.txt', line 3: word 2 of 2: expected a word of the vocabulary "
        "(no yes maybe), got another\n"
    )
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    assert [(row["file"], row["line"], "error" in row) for row in rows] == [
        ("words.txt", 1, False), ("words.txt", 3, True), ("words.txt", 4, False)
    ]  # fmt: skip


def test_a_folder_and_standard_input_may_have_texts_and_tensors(larger, run, monkeypatch):
    Path("in").mkdir()
    Path("in/a.txt").write_text("no yes\n")
    np.savez("in/b.npz", x=np.array([[1, 0]], np.float32))
    Path("in/c.png").write_bytes(b"")
    stdin = SimpleNamespace(buffer=io.BytesIO(b"yes no\n"), isatty=lambda: False)
    monkeypatch.setattr("sys.stdin", stdin)
    code, out, err = run(larger, "in", "-", "--out", "outs", "--limit", "3")
    assert (code, err) == (0, "note: folder 'in': 1 other file left out\n")
    headings = [line for line in out.splitlines() if not line.startswith(" ")]
    assert headings == ["no yes: yes", "in/b.npz: no", "yes no: no"]
    assert sorted(path.name for path in Path("outs").iterdir()) == [
        "a.npz", "b.npz", "standard-input.npz"
    ]  # fmt: skip
    with np.load("outs/b.npz") as stored:
        assert stored["y"].tolist() == [[2, 0]]


def test_each_input_of_a_batch_has_a_row(larger, run):
    np.savez("x.npz", x=np.array([[1, 0], [0, 1]], np.float32))
    code, out, _ = run(larger, "x.npz")
    assert (code, [line for line in out.splitlines() if line[0] != " "]) == (
        0, ["x.npz, input 0: no", "x.npz, input 1: yes"]
    )  # fmt: skip
    _, out, _ = run(larger, "x.npz", "--json", "-")
    assert [(row["file"], row["input"], row["tokens"]["text"]) for row in json.loads(out)] == [
        ("x.npz", 0, "no"), ("x.npz", 1, "yes")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--text", "secret no"], "error: text 1: word 1 of 2: expected a word of the vocabulary"),
        (["--text", ""], "error: text 1: text: expected at least one word, got none"),
        (["--text", "no no no"], "error: text 1: words of the text: expected at most 2, got 3"),
        (["photo.png"], "expected a text, or tensors: 'x' float32[1..4, 2], got 'photo.png'. Pa"),
        (["camera:0"], "got 'camera:0'. Pass --text TEXT, or a .txt file with a text in each"),
        (["none.txt"], "error: texts 'none.txt': expected a file, got nothing"),
        (["latin.txt"], "error: texts 'latin.txt', line 1: expected UTF-8, got another encoding"),
        (["long.txt"], "error: texts 'long.txt', line 1: expected at most 1,048,576 bytes"),
        (["."], "folder '.': expected tensors (.npz) or texts (.txt), got 1 folder"),
        ([], "inputs: expected one INPUT or more, or --text TEXT, got none"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_one_error_without_the_text(words, message, larger, run):
    if words and words[0].endswith(".txt") and words[0] != "none.txt":
        content = b"secret\xff" if words[0] == "latin.txt" else b"secret " * 200_000
        Path(words[0]).write_bytes(content)
    code, out, err = run(larger, *words)
    assert (code, out) == (1, "")
    assert message in err
    assert err.count("error: ") == 1
    assert "secret" not in err


def test_a_bundle_of_tensors_takes_no_text(tensors_only, run):
    code, _, err = run(tensors_only, "--text", "yes")
    assert code == 1
    assert (
        "bundle of 'm': expected tensors: 'x' float32[1, 2], got --text. Give an .npz file" in err
    )
    Path("a.txt").write_text("yes\n")
    assert "expected tensors: 'x' float32[1, 2], got 'a.txt'" in run(tensors_only, "a.txt")[2]


def test_a_bundle_of_pictures_takes_no_text(tmp_path_factory, run):
    bundle = tmp_path_factory.mktemp("detector") / "bundle"
    seed_bundles.detector(bundle)
    made_here(bundle)
    code, _, err = run(bundle, "--text", "yes")
    assert code == 1
    assert err.endswith("bundle of 'fuzzed': expected pictures, got --text")
    Path("a.txt").write_text("yes\n")
    assert err.replace("--text", "'a.txt'") in run(bundle, "a.txt")[2]
