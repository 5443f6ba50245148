"""The rooms keep to themselves: what the device loads, and who names a backend."""

import re
import subprocess
import sys
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
        "loop = HostRecipe('loop', 'seq2seq.greedy', outputs={'y': HostTensorRecipe([1])})\n"
        "model = ModelRecipe('m', 'a:b', inputs={'x': InputRecipe([1])})\n"
        "check_recipe(Recipe(model, BackendRecipe('b'), partition=PartitionRecipe(host=[loop])))\n"
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
    strangers = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("deploy", "backends")
        for path in (ROOT / folder).rglob("*.py")
        if (ROOT / "backends" / name) not in path.parents
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if word.search(line)
    ]
    assert strangers == []
