"""Devices are chosen by name, one or several; a stranger's file chooses and runs nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn

import pytest

from deploy.cli.compose import compose
from deploy.devices.errors import DeviceError
from deploy.pipeline import devices as stage
from deploy.recipe.devices import DeviceRecipe
from deploy.recipe.schema import RecipeError
from tests.helpers.commands import BACKENDS, run_here
from tests.helpers.two_segment_net import DEPLOY, write_net

WORDS = ["+model=yolov3", f"+backend={BACKENDS[0]}"]
PI = "# a board\nhost: pi@raspberrypi\nssh: [-p, 2222, -oConnectTimeout=5]\n"


@pytest.fixture
def own_devices(tmp_path) -> Path:
    write(tmp_path, "device/pi.yaml", PI)
    write(tmp_path, "device/board.yaml", "host: root@board\npython: /usr/bin/python3.12\n")
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_run_without_devices_has_none():
    assert compose(WORDS).device == []


def test_a_device_has_the_name_of_its_file(own_devices):
    (pi,) = compose([*WORDS, "device=pi"], own_devices).device
    assert (pi.name, pi.host, pi.python) == ("pi", "pi@raspberrypi", "python3")
    assert pi.ssh == ["-p", "2222", "-oConnectTimeout=5"]


def test_each_of_several_keeps_what_its_file_says(own_devices):
    words = [*WORDS, "+device=[local,pi,board]", "device.timeout=5", "device.tune=true"]
    local, pi, board = compose(words, own_devices).device
    assert [one.name for one in (local, pi, board)] == ["local", "pi", "board"]
    assert (local.host, pi.host, board.host) == (None, "pi@raspberrypi", "root@board")
    assert (local.ssh, board.python) == ([], "/usr/bin/python3.12")
    assert all(one.timeout == 5 and one.tune for one in (local, pi, board))


def test_a_typed_key_replaces_that_of_the_file(own_devices):
    (pi,) = compose([*WORDS, "device=pi", "device.host=pi@other"], own_devices).device
    assert pi.host == "pi@other"


def test_a_run_takes_a_list_too(own_devices, monkeypatch):
    asked: list[tuple[str, str | None]] = []

    def refuse(device: DeviceRecipe, *_: object) -> NoReturn:
        asked.append((device.name, device.host))
        raise DeviceError(f"device '{device.name}' is away")

    monkeypatch.setattr(stage, "measure_on", refuse)
    write_net(own_devices)
    words = [f"+backend={BACKENDS[0]}", "device=[pi,local]", "bundle=b"]
    ended = run_here("deploy", "--config-dir", ".", *DEPLOY[1:], *words, cwd=own_devices)
    assert ended.returncode == 1
    assert asked == [("pi", "pi@raspberrypi"), ("local", None)]
    assert ended.stderr.endswith("error: device 'pi' is away\nerror: device 'local' is away\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["device=p"], "device: expected one of local, got p"),
        (["device=local", "device.hots=x"], "device.hots: .*Its keys are name, host, python,"),
        (["device=local", "device.tune=maybe"], "device.tune: Value 'maybe' is not a valid bool"),
    ],
)
def test_a_wrong_word_is_answered_with_the_choices(words, message):
    with pytest.raises(RecipeError, match=message):
        compose([*WORDS, *words])


def test_a_recipe_file_sends_no_bundle_anywhere(own_devices):
    write(own_devices, "recipe/theirs.yaml", "# @package _global_\ndevice: {host: evil}\n")
    with pytest.raises(RecipeError, match=r"sets device\.host, which says where the bundle is sen"):
        compose([*WORDS, "+recipe=theirs"], own_devices)
    with pytest.raises(RecipeError, match=r"sets device\.host, which says where the bundle is sen"):
        compose([*WORDS, "device=pi", "+recipe=theirs"], own_devices)


def test_a_recipe_file_chooses_no_device(own_devices):
    text = "# @package _global_\ndefaults: [{/device: pi}]\n"
    write(own_devices, "recipe/theirs.yaml", text)
    with pytest.raises(RecipeError, match="which says where the bundle is sent"):
        compose([*WORDS, "+recipe=theirs"], own_devices)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("[-o, ProxyCommand=touch ran]", "-o ProxyCommand=touch ran"),
        ("[-oProxyCommand=touch ran]", "-oProxyCommand=touch ran"),
        ("[-o, 'proxycommand touch ran']", "-o proxycommand touch ran"),
        ("[-o, LocalCommand=x]", "-o LocalCommand=x"),
        ("[-o, StrictHostKeyChecking=no]", "-o StrictHostKeyChecking=no"),
        ("[-o, UserKnownHostsFile=/dev/null]", "-o UserKnownHostsFile=/dev/null"),
        ("[-F, config]", "-F"),
        ("[-p, 22, -S, x]", "-S"),
        ("[-E/tmp/x]", "-E/tmp/x"),
        ("[evil]", "evil"),
        ("-oProxyCommand=x", "-oProxyCommand=x"),
    ],
)
def test_an_option_of_ssh_that_may_start_a_program_has_to_be_typed(own_devices, options, named):
    write(own_devices, "device/theirs.yaml", f"host: h\nssh: {options}\n")
    message = re.escape(f"device.ssh to {named!r}, which may start a program here")
    with pytest.raises(RecipeError, match=message):
        compose([*WORDS, "device=theirs"], own_devices)
    typed = [*WORDS, "device=theirs", "device.ssh=[-v]"]
    assert compose(typed, own_devices).device[0].ssh == ["-v"]
    assert compose([*WORDS, "device=theirs", "code=mine"], own_devices).device[0].host == "h"


def test_wheels_are_code_and_have_to_be_typed(own_devices):
    write(own_devices, "device/theirs.yaml", "host: h\nwheels: wheels\n")
    with pytest.raises(RecipeError, match=r"sets device\.wheels, whose code runs on the device"):
        compose([*WORDS, "device=theirs"], own_devices)
    words = [*WORDS, "device=theirs", "device.wheels=mine"]
    assert compose(words, own_devices).device[0].wheels == "mine"
