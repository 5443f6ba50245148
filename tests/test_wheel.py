"""A wheel of the repository works from any folder: the desk in one venv, the device in another.

The venvs see the packages of this environment through a path file, all but this project, so that
nothing is downloaded; the device's is given those of its engine alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from backends import registry

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
BACKENDS = os.environ.get("DEPLOY_TEST_BACKENDS", ",".join(registry.names())).split(",")


def run(*command: object, cwd: Path) -> str:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def demo_wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("demo-wheel")
    models = ROOT / "deploy" / "models"
    run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, models, cwd=out
    )
    return next(out.glob("*.whl"))


def installed(folder: Path, packages: Path, *wheels: Path) -> Path:
    """A venv with the wheels, and ``packages`` on its path; returns its python."""
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(f"{packages}\n")
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    return folder / "bin" / "python"


def linked(folder: Path, names: Iterable[str]) -> Path:
    """A folder with links to the top-level files of these distributions and nothing else."""
    folder.mkdir(exist_ok=True)
    for name in names:
        found = distribution(name)
        tops = {Path(str(file)).parts[0] for file in found.files or () if ".." not in str(file)}
        for top in tops:
            link = folder / top
            if not link.exists():
                link.symlink_to(Path(str(found.locate_file(top))))
    return folder


def needed(names: Iterable[str]) -> set[str]:
    """Distributions and all that they need, as pip would install them."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            wanted = map(Requirement, distribution(name).requires or ())
            pending += [one.name for one in wanted if not one.marker or one.marker.evaluate()]
    return found


def desk_packages(folder: Path) -> Path:
    """Everything that is installed here but this project."""
    # first the engines, which may lie elsewhere, such as the double of one
    linked(folder, [need for name in BACKENDS for need in registry.about(name).run])
    site = Path(str(distribution("numpy").locate_file("")))
    for path in site.iterdir():
        own = path.name.startswith(("backend_chain", "_backend_chain", "__editable__"))
        if not own and not (folder / path.name).exists():
            (folder / path.name).symlink_to(path)
    return folder


def test_the_wheel_holds_the_configuration_and_another_one_the_demo(wheel, demo_wheel):
    assert wheel.stat().st_size < 2_000_000
    demo = zipfile.ZipFile(demo_wheel).namelist()
    assert "backend_chain_demo/yolov3/demo/weights.safetensors" in demo
    assert "backend_chain_demo/mask_rcnn/demo/eval/annotations.json" in demo
    assert "backend_chain_demo/resnet/demo/eval/0/000.jpg" in demo
    assert "backend_chain_demo/unet/demo/eval/labels/scene_000.png" in demo
    assert wheel.name.split("-")[1] == demo_wheel.name.split("-")[1]  # of one version
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "conf/deploy.yaml",
        "conf/model/yolov3.yaml",
        "tasks/classify/post.py",
        "py.typed",
        "report/templates/page.css",
        "report/templates/run.html",
    ):
        assert f"deploy/{name}" in names
    assert "backends/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "scripts", "conf"))]
    assert not [name for name in names if "/demo/" in name or name.endswith("pyproject.toml")]


def test_a_desk_makes_a_bundle_and_devices_run_it(wheel, demo_wheel, tmp_path):
    desk = installed(tmp_path / "desk", desk_packages(tmp_path / "packages"), wheel, demo_wheel)
    where = "import deploy; print(deploy.__file__)"
    assert str(tmp_path) in run(desk, "-c", where, cwd=tmp_path)
    for backend in BACKENDS:
        bundle = tmp_path / f"{backend}.bundle"
        run(
            desk, "-m", "deploy", "+model=yolov3", f"+backend={backend}", f"bundle={bundle}",
            "bench.runs=1", cwd=tmp_path,
        )  # fmt: skip
        needs = needed([*registry.about(backend).run, "numpy", "pillow"])
        packages = linked(tmp_path / f"{backend}.packages", needs)
        device = installed(tmp_path / f"{backend}.device", packages, wheel)
        assert "BAD" not in run(device, "-m", "deploy.runtime", "check", bundle, cwd=tmp_path)
        missing = [sys.executable, "-c", "import torch"]
        assert subprocess.run([device, *missing[1:]], capture_output=True, check=False).returncode


def test_the_device_says_what_the_desk_lacks(wheel, tmp_path):
    packages = linked(tmp_path / "packages", ["numpy", "pillow"])
    device = installed(tmp_path / "device", packages, wheel)
    for command in ("deploy", "deploy.inspect"):
        done = subprocess.run([device, "-m", command], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "error: this is the desk, and it lacks hydra, torch, onnx_ir" in done.stderr
    report = subprocess.run(
        [device, "-m", "deploy.doctor"], capture_output=True, text=True, check=False
    )
    assert report.returncode == 1, "nothing can run there"
    for backend in map(registry.about, registry.names()):
        assert f"pip install '.[{backend.device_extra or backend.extra}]'" in report.stdout
