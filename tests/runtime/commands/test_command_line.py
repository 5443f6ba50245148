"""The device's command line answers at once, explains each argument, and knows its old names."""

import argparse
import subprocess
import sys

import pytest

import deploy.runtime
from deploy.runtime.__main__ import main
from deploy.runtime.commands.table import COMMANDS
from tests.helpers.commands import output_of, run_process


def heavy_modules(code: str) -> str:
    code = (
        f"import sys\n{code}\nprint(*sorted({{'numpy', 'PIL', 'onnxruntime'}} & {{*sys.modules}}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ended.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    ["--help", "", "chek", *(f"{name} --help" for name in COMMANDS), "run", "bench b --runs none"],
)
def test_help_and_usage_errors_load_no_heavy_library(words):
    code = (
        "from deploy.runtime.__main__ import main\n"
        f"try: main({words.split()!r})\n"
        "except SystemExit: pass"
    )
    assert heavy_modules(code) == ""


def test_the_package_loads_no_heavy_library_by_itself():
    assert heavy_modules("import deploy.runtime") == ""


def test_every_public_name_is_there_on_its_first_use():
    assert {*deploy.runtime.__all__} <= {*dir(deploy.runtime)}
    for name in deploy.runtime.__all__:
        assert getattr(deploy.runtime, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Pipelin'"):
        deploy.runtime.Pipelin  # noqa: B018


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_is_explained_without_markup_and_there_is_an_example(name):
    parser = argparse.ArgumentParser(prog=f"backend-chain {name}")
    COMMANDS[name].load().add_arguments(parser)
    assert all(action.help for action in parser._actions)
    text = parser.format_help()
    assert "`" not in text
    assert f"example: backend-chain {name} bundles/" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("chek b", "invalid choice: 'chek'"),
        ("bench b --runs 0", "argument --runs: expected a number from 1 up, got 0"),
        ("check b --threads ²", "argument --threads: expected a number from 1 up, got ²"),
        ("run b i.png --score 2", "argument --score: expected a score from 0 to 1, got 2"),
        ("run b i.png --score nan", "argument --score: expected a score from 0 to 1, got nan"),
        ("run", "the following arguments are required: BUNDLE"),
    ],
)
def test_wrong_usage_is_named(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_an_old_name_of_a_command_works_and_says_the_new_one(tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"error: .* is not a bundle"):
        main(["finish", str(tmp_path)])
    assert capsys.readouterr().err == "note: finish is now called build\n"


def test_the_version_is_that_of_the_project_and_of_each_engine(tmp_path):
    said = output_of("deploy.runtime", "--version", cwd=tmp_path).splitlines()
    assert said[0].startswith("backend-chain ")
    assert any(line.startswith("onnxruntime ") for line in said[1:])


def test_the_exit_code_is_one_where_a_bundle_is_missing(tmp_path):
    ended = run_process("deploy.runtime", "check", "nothing", cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: 'nothing' is not a bundle")
