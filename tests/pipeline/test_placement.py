"""What the automatic partition keeps of engines in its cache."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.registry import about
from deploy.pipeline import placement
from deploy.pipeline.placement import engine_key
from deploy.recipe.schema import BackendRecipe


def test_an_engine_that_the_device_builds_is_not_asked_about_this_machine(monkeypatch):
    def no_driver(options):
        raise ImportError("libcuda.so.1")

    facts = replace(about("onnxruntime"), machine=no_driver)
    monkeypatch.setattr(placement, "about", lambda name: facts)
    assert engine_key(BackendRecipe("onnxruntime", build="device"))["machine"] == {}
    with pytest.raises(ImportError):
        engine_key(BackendRecipe("onnxruntime"))
