"""One command: its words, its help, its usage errors, and what may lie in the working directory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from backends import registry
from deploy.cli.catalog import GROUPS, KEYS, config_choices
from deploy.cli.compose import compose
from deploy.cli.main import COMMANDS
from deploy.cli.words import expand_words, recipe_keys
from deploy.recipe.schema import RecipeError
from tests.helpers.commands import run_process

HEAVY = ("torch", "onnx", "onnx_ir", "onnxscript", *registry.names())
NET = """
from torch import nn

class Net(nn.Module):
    def forward(self, x):
        return x * 2
"""


def console(*words: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The console script, as pip installs it: no working directory on its path."""
    code = "import sys; sys.argv[0] = 'backend-chain'; from deploy.cli.main import main; main()"
    command = [sys.executable, "-P", "-c", code, *map(str, words)]
    root = str(Path(__file__).resolve().parents[2])
    env = {**os.environ, "PYTHONPATH": root, **environment}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def imported(*words: str, cwd: Path) -> tuple[int, str, set[str]]:
    """The exit code and the errors of a command, and the top-level packages that it imported."""
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "deploy", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = ended.stderr.splitlines()
    trace = [line for line in lines if line.startswith("import time:")]
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in trace}
    return ended.returncode, "\n".join(line for line in lines if line not in trace), names


def test_the_help_lists_every_command_and_has_no_markup(tmp_path):
    printed = console("--help", cwd=tmp_path).stdout
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.help)}$", printed, re.MULTILINE), name
    assert "`" not in printed


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_explains_each_argument_and_has_an_example(name, tmp_path):
    ended = console(name, "--help", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "`" not in ended.stdout and f"example: backend-chain {name}" in ended.stdout
    for line in re.findall(r"^  (?:-|[A-Z]).*$", ended.stdout, re.MULTILINE):
        explained = re.search(r"\S  +\S", line) or len(line) > 23  # long ones go on below
        assert explained, line


def test_the_help_of_the_main_job_lists_choices_and_keys_that_exist(tmp_path):
    printed = console("deploy", "--help", cwd=tmp_path).stdout
    for group in GROUPS:
        assert all(f"  {name} " in printed for name in config_choices(group))
    known = [*recipe_keys(), *GROUPS]
    for key in KEYS:
        name = re.split(r"[=@]", key)[0]
        assert key in printed
        assert any(f"{name}.".startswith(f"{one}.") or one.startswith(name) for one in known), key


def test_the_version_is_that_of_the_project_and_of_each_engine(tmp_path):
    printed = console("--version", cwd=tmp_path).stdout
    assert f"backend-chain {version('backend-chain')}" in printed
    for need in registry.about(registry.names()[0]).run:
        assert need in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model=yolo", "backend=x"), "model: expected one of .*yolov3.*, got yolo. Did you mean"),
        (("+model=yolov3", "+backend=xyz"), "backend: expected one of .*, got xyz"),
        (("+model=yolov3", "precision=fp16"), "Did you mean backend.precision=fp16?"),
        (("+model=yolov3", "runs=3"), "key 'runs': .* Did you mean bench.runs=3?"),
        (("inspct", "yolov3"), "command: expected one of deploy, .*, got inspct. Did you mean"),
    ],
)
def test_a_usage_error_says_what_is_meant_and_loads_no_heavy_library(words, message, tmp_path):
    code, errors, names = imported(*words, cwd=tmp_path)
    assert code != 0
    assert re.search(message.replace("?", r"\?"), errors), errors
    assert not names & set(HEAVY)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("inspect", "yolo"), "model: expected one of .*, got yolo"),
        (("evaluate", "nothing"), "the build record of bundle .*: expected"),
        (("report", "nothing"), "report of bundle 'nothing': expected its data"),
        (("cache", "list", "nothing"), "is no cache: expected a folder that a run with cache=DIR"),
        (("bundle", "verify", "nothing"), "expected"),
        (("blame", "nothing"), "is not a bundle"),
        (("check", "nothing"), "'nothing' is not a bundle"),
        (("run", "nothing"), "inputs: expected one INPUT or more, or --text TEXT, got none"),
        (("run", "b", "x", "--score", "2"), "expected a score from 0 to 1, got 2"),
    ],
)
def test_a_command_refuses_wrong_words_before_it_loads_torch(words, message, tmp_path):
    code, errors, names = imported(*words, cwd=tmp_path)
    assert code in (1, 2)
    assert re.search(message, errors), errors
    assert "torch" not in names


def test_a_group_needs_no_plus():
    words = ["model=yolov3", "backend@chain.head=ncnn", "partition={cuts: [a]}", "bundle=b"]
    assert expand_words(words) == [
        "+model=yolov3",
        "+backend@chain.head=ncnn",
        "partition={cuts: [a]}",
        "bundle.folder=b",
    ]
    with pytest.raises(RecipeError, match=r"backend: expected one of .*, got nothing"):
        expand_words(["backend=[ncnn,nothing]"])


def test_a_recipe_is_a_group_too_and_so_is_one_of_the_users_own_configuration():
    assert compose(["recipe=digits_phone"]).model.name == "yolov3"
    own = ["--config-dir", "my", "+recipe=mine", "+site=lab"]
    assert expand_words(own) == own
    with pytest.raises(RecipeError, match=r"key 'site': expected one of model, backend, "):
        expand_words(["+site=lab"])
    with pytest.raises(RecipeError, match=r"recipe: expected one of digits_phone, digits_server"):
        expand_words(["recipe=mine"])


def test_files_of_the_user_do_not_take_the_place_of_ours(tmp_path):
    for name in ("deploy.py", "backends.py"):
        (tmp_path / name).write_text("raise SystemExit('the file of the user was run')\n")
    (tmp_path / "my_net.py").write_text(NET)
    ended = console(
        "model=module",
        "model.target=my_net:Net",
        "model.inputs={x: {shape: [1, 4]}}",
        f"backend={registry.names()[1]}",
        "bundle=b",
        "bench.runs=2",
        cwd=tmp_path,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert console("check", "b", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("name", ["blame", "bundle", "cache", "doctor", "evaluate", "inspect"])
def test_a_command_under_its_old_name_works_and_warns(name, tmp_path):
    ended = run_process(f"deploy.{name}", "--help", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert f"python -m deploy.{name} is now: python -m deploy {name}" in ended.stderr


def test_a_module_under_its_old_name_has_the_names_of_the_new_one(tmp_path):
    code = (
        "from deploy.runtime.detections import Detections as old\n"
        "from deploy.runtime.results.detections import Detections as new\n"
        "from backends.command import main\n"
        "print(old is new)"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "True"
    assert "deploy.runtime.detections is now deploy.runtime.results.detections" in ended.stderr
    assert "backends.command is now backends.convert_cli" in ended.stderr


@pytest.fixture
def script(tmp_path) -> Path:
    """The completion of bash, installed below a data folder of its own."""
    ended = console("--install-completion", "bash", cwd=tmp_path, XDG_DATA_HOME=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    return tmp_path / "bash-completion" / "completions" / "backend-chain"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ins", {"inspect "}),
        ("model=yol", {"yolov3", "yolov3_coco"}),
        ("deploy backend.prec", {"backend.precision="}),
        ("check --thr", {"--threads "}),
        ("bundle ver", {"verify "}),
    ],
)
def test_bash_completes_the_words_of_the_command(script, line, expected, tmp_path):
    program = tmp_path / "backend-chain"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom deploy.cli.main import main\nmain()\n"
    )
    program.chmod(0o755)
    typed = f"backend-chain {line}"
    bash = f"""
source '{script}'
COMP_LINE='{typed}'; COMP_POINT={len(typed)}; COMP_TYPE=9; COMP_KEY=9
COMP_WORDS=({typed}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_python_argcomplete backend-chain
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    root = str(Path(__file__).resolve().parents[2])
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": root}
    ended = subprocess.run(
        ["bash", "-c", bash], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert set(ended.stdout.splitlines()) == expected, ended.stderr


def test_a_shell_without_completion_is_refused_by_name(tmp_path):
    ended = console("--install-completion", "csh", cwd=tmp_path)
    assert ended.returncode == 2
    assert "shell: expected one of bash, zsh, fish, got csh" in ended.stderr
