"""Imports go one way: between the rooms, from desk to device, and never to a backend by name."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from backends import registry

ROOT = Path(__file__).parent.parent
DESK_ONLY = (
    "torch",
    "hydra",
    "jinja2",
    "omegaconf",
    "onnx",
    "onnx_ir",
    "onnxscript",
    "rich",
    "safetensors",
)


# Every room, and the rooms that it may import from. A room is a package, or a module beside them.
# cli -> pipeline, analysis -> report -> stages -> graph, recipe -> runtime -> backends
_SHARED = {"backends", "backends.onnx", "backends.process"}  # by every room
_CONVERTER = "backends.convert_cli"  # by every engine
_PICTURES = {"deploy.runtime.vision", "deploy.runtime.results"}
_CHAIN = {
    f"deploy.runtime.{room}"
    for room in ("vision", "results", "bundle", "execution", "isolation", "inputs", "pipeline")
}
_DEVICE = {*_CHAIN, *(f"deploy.runtime.{room}" for room in ("accuracy", "latency", "benchmark"))}
_MEASURING = {
    *_DEVICE,
    *(f"deploy.runtime.{room}" for room in ("device_record", "engine_build", "tuning")),
}
_STAGES = {
    *("deploy.export", "deploy.partition", "deploy.precision", "deploy.convert"),
    *("deploy.bundle", "deploy.verify", "deploy.graph", "deploy.recipe", "deploy.placement"),
    "deploy.handover",
    "deploy.devices",
}
_DESK = {*_DEVICE, *_STAGES, "deploy.report", "deploy.report.svg"}
_NVIDIA = {"tensorrt", "tensorrt_rtx"}  # products that share the room backends.nvidia
ROOMS: dict[str, set[str]] = {
    **{
        f"backends.{name}": {_CONVERTER, *(["backends.nvidia"] if name in _NVIDIA else [])}
        for name in registry.names()
    },
    "backends.nvidia": set(),
    _CONVERTER: set(),
    "backends.command": {_CONVERTER},
    "deploy.runtime.vision": set(),
    "deploy.runtime.results": {"deploy.runtime.vision"},
    "deploy.runtime.bundle": _PICTURES,
    "deploy.runtime.execution": {*_PICTURES, "deploy.runtime.bundle"},
    "deploy.runtime.isolation": {*_PICTURES, "deploy.runtime.bundle", "deploy.runtime.execution"},
    "deploy.runtime.inputs": {"deploy.runtime.vision", "deploy.runtime.bundle"},
    "deploy.runtime.pipeline": _CHAIN,
    "deploy.runtime.latency": _CHAIN,
    "deploy.runtime.accuracy": {*_CHAIN, "deploy.runtime.latency"},
    "deploy.runtime.benchmark": {*_CHAIN, "deploy.runtime.accuracy", "deploy.runtime.latency"},
    "deploy.runtime.engine_build": _DEVICE,
    "deploy.runtime.tuning": _DEVICE,
    "deploy.runtime.device_record": _DEVICE,
    "deploy.runtime.device_measurement": _MEASURING,
    "deploy.runtime.commands": {*_MEASURING, "deploy.runtime.device_measurement"},
    "deploy.runtime": {*_CHAIN, "deploy.runtime.commands"},
    "deploy.models": {*_CHAIN, "deploy.tasks", "deploy.mark", "deploy.export"},
    "deploy.tasks": {*_CHAIN, "deploy.runtime.accuracy"},
    "deploy.graph": set(),
    "deploy.recipe": _CHAIN,
    "deploy.convert": {"deploy.recipe"},
    "deploy.partition": {*_CHAIN, "deploy.graph", "deploy.recipe"},
    "deploy.precision": {"deploy.graph", "deploy.recipe", "deploy.convert"},
    "deploy.export": {
        *_CHAIN,
        *("deploy.graph", "deploy.recipe", "deploy.convert", "deploy.partition"),
    },
    "deploy.placement": {
        *_CHAIN,
        *("deploy.graph", "deploy.recipe", "deploy.convert", "deploy.partition", "deploy.export"),
    },
    "deploy.mark": {"deploy.export", "deploy.graph"},
    "deploy.rewrite": {"deploy.export"},
    "deploy.devices.on_device": set(),  # of the standard library alone
    "deploy.devices": {
        *(*_DEVICE, "deploy.recipe", "deploy.runtime.device_record", "deploy.devices.on_device"),
    },
    "deploy.bundle": {*_CHAIN, "deploy.recipe", "deploy.convert"},
    "deploy.verify": {*_DEVICE, "deploy.recipe"},
    "deploy.handover": _DEVICE,
    "deploy.mmdeploy": set(),
    "deploy.report.svg": set(),
    "deploy.report": {*_DEVICE, *_STAGES, "deploy.report.svg", "deploy.runtime.device_record"},
    "deploy.pipeline": {*_DESK, "deploy.runtime.device_record"},
    "deploy.analysis.accuracy": _DESK,
    "deploy.analysis": {*_DESK, "deploy.pipeline", "deploy.analysis.accuracy"},
    "deploy.cli": {
        *(*_DESK, "deploy.pipeline", "deploy.analysis", "deploy.analysis.accuracy"),
        *("deploy.runtime.commands", "deploy.mmdeploy"),
    },
    "deploy": {"deploy.cli"},
}
_DOORS = {("deploy.bundle", "deploy.cli.old_names")}  # python -m deploy.bundle, until 0.3


def room_of(module: str) -> str:
    """The room of a module: the innermost package of the table, or the module itself."""
    parts = module.split(".")
    known = {*ROOMS, *_SHARED}
    names = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
    return next(name for name in names if name in known)


def imports() -> Iterator[tuple[str, str]]:
    """Every import of this project's own modules, as the module that imports and the imported."""
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for folder in ("deploy", "backends")
        for path in (ROOT / folder).rglob("*.py")
    }
    for module, path in files.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [name if name in files else node.module for name in names]
            else:
                continue
            for target in targets:
                if target.partition(".")[0] in ("deploy", "backends"):
                    yield module, target


def test_a_room_imports_from_the_rooms_below_it_alone():
    wrong = [
        f"{module} imports {target}"
        for module, target in imports()
        if room_of(target) not in {room_of(module), *_SHARED, *ROOMS.get(room_of(module), ())}
        and (module, target) not in _DOORS
    ]
    assert wrong == []


def test_the_rooms_have_no_cycle():
    edges: dict[str, set[str]] = {}
    for module, target in imports():
        source, goal = room_of(module), room_of(target)
        if source != goal and (module, target) not in _DOORS:
            edges.setdefault(source, set()).add(goal)
    assert list(TopologicalSorter(edges).static_order())


def test_the_device_loads_nothing_of_the_desk():
    code = (
        "import sys, importlib, deploy.runtime, deploy.runtime.__main__\n"
        "from backends import registry\n"
        "from deploy.runtime.execution.post_steps import registered_posts\n"
        "[registry.loader(name) for name in registry.names()]\n"
        "assert registered_posts()\n"
        f"print(*sorted(set({DESK_ONLY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_recipe_with_host_steps_is_checked_without_the_desk_and_any_engine():
    code = (
        "import sys\n"
        "from backends import registry\n"
        "from deploy.recipe.validate import check_recipe\n"
        "from deploy.recipe.schema import *\n"
        "pool = HostRecipe('pool', 'mask_rcnn.roi_align', params={'size': 7},\n"
        "                  outputs={'y': HostTensorRecipe([1])})\n"
        "model = ModelRecipe('m', 'a:b', inputs={'x': InputRecipe([1])})\n"
        "check_recipe(Recipe(model, BackendRecipe('b'), partition=PartitionRecipe(host=[pool])))\n"
        f"print(*sorted({{*{DESK_ONLY!r}, *registry.names()}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_desks_door_imports_nothing():
    code = "import sys, deploy, backends; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", registry.names())
def test_no_backend_is_named_in_code_outside_its_folder(name):
    word = re.compile(rf"(?<![\w.]){name}(?!\w)", re.IGNORECASE)
    rooms = {*_NVIDIA, "nvidia"} if name in _NVIDIA else {name}
    strangers = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("deploy", "backends")
        for path in (ROOT / folder).rglob("*.py")
        if not {ROOT / "backends" / room for room in rooms} & set(path.parents)
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if word.search(line)
    ]
    assert strangers == []
