"""Bundles of a test backend that multiplies."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backends import registry
from backends.contract import Artifact, TensorSpec
from deploy.runtime.bundle.manifest import (
    BundleError,
    FileEntry,
    Manifest,
    Verification,
    read_manifest,
    write_manifest,
)
from deploy.runtime.bundle.trust import remember_own
from tests.simulator import activate

# One cache for all workers of this run, so that a model is exported and converted once; nothing of
# an earlier run is found.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="deploy-tests-")
    os.environ.pop("DEPLOY_CACHE", None)
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

if "DEPLOY_TEST_GPU" in os.environ:  # the machine has a GPU and its libraries
    nvidia = ["backends/tensorrt", "backends/tensorrt_rtx"]
    collect_ignore = ["simulator", *nvidia, "backends/test_onnxruntime_cuda.py"]
else:
    activate()

MakeBundle = Callable[..., Path]


def spec(name: str) -> TensorSpec:
    return TensorSpec(name, "float32", (1, 2))


def step(name: str, source: str, target: str) -> Artifact:
    """A step that multiplies ``source`` by the number in its file."""
    return Artifact(name, "scaler", (f"{name}/factor.txt",), (spec(source),), (spec(target),))


def other(of: Artifact, precision: str = "fp16", **changes: object) -> Artifact:
    """A further engine for a step."""
    files = (f"{of.name}/scaler-{precision}/factor.txt",)
    return replace(of, files=files, precision=precision, **changes)


@pytest.fixture
def make_bundle(tmp_path: Path, monkeypatch) -> MakeBundle:
    """Write a bundle of steps with their factors; further fields go into its manifest."""
    packages = registry._packages()
    monkeypatch.setattr(
        registry, "_packages", lambda: {**packages, "scaler": "tests.helpers.scaler"}
    )

    def make(
        steps: list[tuple[Artifact, float]] | None = None,
        others: Sequence[tuple[Artifact, float]] = (),
        **fields: object,
    ) -> Path:
        bundle = tmp_path / "bundle"
        chosen = steps or [(step("one", "x", "y"), 2.0)]
        for artifact, factor in (*chosen, *others):
            path = bundle / artifact.files[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(factor))
        (bundle / "sample").mkdir()
        image = np.ones((1, 2), np.float32)
        tensors = {"input/x": image, "output/y": image * 2}
        np.savez(bundle / "sample" / "tensors.npz", **tensors)
        names = [path for path in bundle.rglob("*") if path.is_file()]
        manifest = Manifest(
            model="m",
            classes=(),
            inputs=(spec("x"),),
            outputs=(spec("y"),),
            steps=tuple(artifact for artifact, _ in chosen),
            pre=None,
            post=None,
            sample="sample/tensors.npz",
            files={str(path.relative_to(bundle)): entry(path) for path in names},
            tools={},
            verification=Verification("passed"),
            alternatives=tuple(artifact for artifact, _ in others),
        )
        write_manifest(bundle, replace(manifest, **fields))
        try:
            return made_here(bundle)  # another process does not know this backend
        except BundleError:
            return bundle  # a manifest that is refused

    return make


def made_here(bundle: Path) -> Path:
    """The bundle, which now counts as made by this user: it is loaded into this process."""
    remember_own(read_manifest(bundle))
    return bundle


def entry(path: Path) -> FileEntry:
    kind = "sample" if path.parent.name == "sample" else "engine"
    return FileEntry(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size, kind)
