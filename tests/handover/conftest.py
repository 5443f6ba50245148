"""Bundles that are handed over to an app."""

from __future__ import annotations

import pytest

from tests.helpers.commands import output_of

RUN = ("deploy", "bench.runs=0", "verify.images=1", "bundle=bundle")


@pytest.fixture(scope="module")
def detector_for_an_app(tmp_path_factory):
    """The demo's detector, for ncnn."""
    folder = tmp_path_factory.mktemp("detector")
    output_of(*RUN, "+model=yolov3", "+backend=ncnn", cwd=folder)
    return folder / "bundle"


@pytest.fixture(scope="module")
def classifier_for_an_app(tmp_path_factory):
    """The demo's classifier, for ncnn."""
    folder = tmp_path_factory.mktemp("classifier")
    output_of(*RUN, "+model=resnet", "+backend=ncnn", cwd=folder)
    return folder / "bundle"
