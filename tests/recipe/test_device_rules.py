"""What a recipe says of its devices is checked before any of them is asked."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.recipe.device_rules import check_devices
from deploy.recipe.devices import DeviceRecipe
from deploy.recipe.schema import RecipeError


def test_a_device_with_what_ssh_takes_is_fine():
    check_devices([
        DeviceRecipe("local"),
        DeviceRecipe("pi", "pi@raspberrypi", ssh=["-p", "2222"], extras=["fast"], tune=True),
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "a b"}, "name of device 'a b': expected letters, digits"),
        ({"host": "-oProxyCommand=x"}, "host of device 'pi': expected an address as ssh takes it"),
        ({"host": "a b"}, "host of device 'pi': expected an address"),
        ({"python": "-c"}, "python of device 'pi': expected a program there"),
        ({"folder": ""}, "folder of device 'pi': expected a path there"),
        ({"host": None, "ssh": ["-v"]}, "ssh of device 'pi': expected none, since there is no"),
        ({"ssh": ["-o\n"]}, "ssh of device 'pi': expected options of ssh"),
        ({"extras": ["fast]"]}, "extras of device 'pi': expected letters"),
        ({"timeout": 0.0}, "timeout of device 'pi': expected seconds above 0"),
        ({"name": ""}, "device: expected a device, got keys of one alone. Pass device=NAME"),
    ],
)
def test_what_no_device_takes_is_refused_by_its_key(fields: dict[str, Any], message: str):
    with pytest.raises(RecipeError, match=message):
        check_devices([DeviceRecipe(**{"name": "pi", "host": "pi@board", **fields})])


def test_a_device_twice_is_refused():
    with pytest.raises(RecipeError, match="device: expected each device once, got 'pi' twice"):
        check_devices([DeviceRecipe("pi"), DeviceRecipe("pi")])
