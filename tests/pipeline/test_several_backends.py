"""From a list of backends on the command line to the device's choice among them."""

from __future__ import annotations

import re

import pytest

from deploy.runtime import Pipeline
from deploy.runtime.bundle.engine_choice import Choice, engines_by_step
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.bundle.sample import read_sample
from tests.helpers.commands import BACKENDS, output_of
from tests.helpers.two_segment_net import CUTS, MODEL

FIRST, SECOND = BACKENDS[:2]
COMMAND = [
    "deploy", "+model=module", "model.target=my_net:Net", "bench.runs=2",
    "model.inputs={image: {shape: [1, 3, 16, 16]}}", f"partition.segments={CUTS}",
]  # fmt: skip


@pytest.fixture(scope="module")
def mixed_deployment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    (folder / "my_net.py").write_text(MODEL)
    words = [f"+backend={FIRST}", f"+backend@chain.head=[{SECOND},{FIRST}]"]
    return folder / "bundle", output_of(*COMMAND, *words, "bundle=bundle", cwd=folder)


def test_the_closing_lines_name_the_engines_and_the_command_that_chooses(mixed_deployment):
    assert f"convert head ({FIRST}, fp32)" in mixed_deployment[1]
    assert f"engines     head on {SECOND}-fp32, or {FIRST}-fp32" in mixed_deployment[1]
    assert "then        python -m deploy.runtime tune bundle (on the device)" in mixed_deployment[1]


def test_the_bundle_carries_and_verifies_all_of_them(mixed_deployment):
    manifest = read_manifest(mixed_deployment[0])
    assert list(engines_by_step(manifest)["head"]) == [f"{SECOND}-fp32", f"{FIRST}-fp32"]
    assert list(engines_by_step(manifest)["body"]) == [f"{FIRST}-fp32"]
    compared = [item.step for item in manifest.verification.gaps]
    assert compared == ["body", "head", f"head on {FIRST}-fp32", "chain"]


def test_every_choice_gives_the_same(mixed_deployment):
    bundle, _ = mixed_deployment
    sample = read_sample(bundle, read_manifest(bundle))
    for engine in engines_by_step(read_manifest(bundle))["head"]:
        with Pipeline.open(bundle, choices={"head": Choice(engine)}) as pipeline:
            found = pipeline.chain(sample.inputs)["logits"]
        assert found == pytest.approx(sample.outputs["logits"], rel=1e-4, abs=1e-5)


def test_the_device_measures_them_and_keeps_its_choice(mixed_deployment):
    bundle, _ = mixed_deployment
    said = output_of(
        "deploy.runtime", "tune", bundle, "--threads", 1, "--rounds", 2, cwd=bundle.parent
    )
    for name in (FIRST, SECOND):
        assert re.search(rf"^{name}-fp32.*, 1 thread ", said, flags=re.MULTILINE)
    assert "chosen: body on " in said
    assert "head on " in output_of(
        "deploy.runtime", "bench", bundle, "--runs", 2, cwd=bundle.parent
    )
    as_made = output_of(
        "deploy.runtime", "bench", bundle, "--runs", 2, "--as-made", cwd=bundle.parent
    )
    assert as_made.startswith(f"body on {FIRST}-fp32; head on {SECOND}-fp32\n")
    output_of("deploy.runtime", "check", bundle, cwd=bundle.parent)
    output_of("deploy.runtime", "tune", bundle, "--forget", cwd=bundle.parent)
