"""``model.classes`` names the classes, or a text file with one in each line."""

from __future__ import annotations

import pytest

from deploy.cli.compose import from_plain
from deploy.recipe import class_names
from deploy.recipe.schema import RecipeError


def classes(value: object) -> list[str]:
    model = {"name": "m", "classes": value}
    return from_plain({"model": model, "backend": {"name": "onnxruntime"}}).model.classes


def test_a_text_file_has_a_class_in_each_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = "\ufeffant\r\n \n\nnull\n12\n#\n'\n\u3000\u2028\n\n\n"
    (tmp_path / "my names.txt").write_bytes(content.encode())
    named = ["ant", " ", "", "null", "12", "#", "'", "\u3000\u2028"]
    assert classes("my names.txt") == named
    assert classes(f"{tmp_path}/my names.txt") == named
    assert classes(["my names.txt"]) == ["my names.txt"]


def test_a_file_of_another_suffix_is_one_where_it_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "coco.names").write_text("person\n")
    (tmp_path / "ant").write_text("bee\n")
    assert classes("coco.names") == ["person"]
    assert classes("other.names") == ["other.names"]
    assert classes("ant") == ["ant"]


def test_files_that_are_none_are_refused(tmp_path, monkeypatch):
    with pytest.raises(RecipeError, match=r"no\.txt: expected a text file.*brackets"):
        classes(f"{tmp_path}/no.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(RecipeError, match=r"latin\.txt: expected text in UTF-8, got other bytes"):
        classes(f"{tmp_path}/latin.txt")
    (tmp_path / "long.txt").write_text("ant\nbee\n")
    monkeypatch.setattr(class_names, "_MOST_BYTES", 6)
    with pytest.raises(RecipeError, match=r"long\.txt: expected at most 6 bytes, got more"):
        classes(f"{tmp_path}/long.txt")
