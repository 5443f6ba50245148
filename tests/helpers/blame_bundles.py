"""Bundles of a chain with a wrong step, and what the command blame prints of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deploy.runtime.bundle.manifest import (
    read_manifest,
    write_manifest,
)
from deploy.runtime.bundle.sample import DETECTIONS
from tests.conftest import entry, step
from tests.helpers.commands import run_blame

X = np.array([[1, 2]], np.float32)


def chain_of(*factors: float):
    """Steps ``s0``, ``s1`` and so on from ``x`` over ``t0``, ``t1`` to ``y``."""
    names = ["x", *(f"t{n}" for n in range(len(factors) - 1)), "y"]
    return [(step(f"s{n}", names[n], names[n + 1]), factor) for n, factor in enumerate(factors)]


def with_work(bundle: Path, steps, right) -> Path:
    """Write the work folder and the bundle's sample: the reference multiplies by ``right``."""
    values = {"x": X}
    for (one, _), factor in zip(steps, right, strict=True):
        values[one.outputs[0].name] = values[one.inputs[0].name] * np.float32(factor)
    samples = bundle.with_name("bundle.work") / "artifacts"
    samples.mkdir(parents=True)
    for one, _ in steps:
        sides = {f"input/{one.inputs[0].name}": values[one.inputs[0].name]}
        sides[f"output/{one.outputs[0].name}"] = values[one.outputs[0].name]
        np.savez(samples / f"{one.name}.sample.npz", **sides)
    sample = bundle / "sample" / "tensors.npz"
    np.savez(sample, **{"input/x": X, "output/y": values["y"]})
    return sealed(bundle)


def sealed(bundle: Path, **changes: object) -> Path:
    """The manifest again, with the files as they are."""
    manifest = replace(read_manifest(bundle), **changes)
    paths = [path for path in bundle.rglob("*") if path.is_file() and path.suffix != ".json"]
    paths += [bundle / DETECTIONS] if (bundle / DETECTIONS).is_file() else []
    files = {path.relative_to(bundle).as_posix(): entry(path) for path in paths}
    write_manifest(bundle, replace(manifest, files=files))
    return bundle


def said(capsys, bundle, *words, code=1) -> str:
    with pytest.raises(SystemExit) as ended:
        run_blame(bundle, *words)
    assert ended.value.code == code, ended.value.code
    return capsys.readouterr().out


def refusal(bundle, *words) -> str:
    with pytest.raises(SystemExit) as ended:
        run_blame(bundle, *words)
    return str(ended.value.code)


def ranking(text: str) -> list[str]:
    """The steps of the table, in order."""
    rows = text.split("\n\n")[1].splitlines()[1:]
    return [row.split()[0] for row in rows if not row.startswith("(chain)")]
