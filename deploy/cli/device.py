"""``device``: lists the devices that runs measure on, checks and cleans them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.recipe.devices import DeviceRecipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    parser.description = (
        "List the devices of the configuration, check that one can be reached and has what it "
        "needs, or remove what runs have put there."
    )
    parser.epilog = "example: %(prog)s check pi --config-dir my"
    parser.add_argument("action", choices=sorted(_ACTIONS), help="what to do")
    parser.add_argument("name", nargs="?", help="the device; list takes none")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="such as device.host=pi@raspberrypi"
    )
    parser.add_argument(
        "--config-dir", type=Path, metavar="DIR", help="a folder with devices of your own"
    )


def run(arguments: argparse.Namespace) -> bool:
    """Do what is asked for; false where the device would not work.

    Raises:
        DeployError: there is no such device, or it cannot be reached.
    """
    return _ACTIONS[arguments.action](arguments)


def _list(arguments: argparse.Namespace) -> bool:
    from deploy.cli.devices import device_names, device_recipe

    for name in device_names(arguments.config_dir):
        device = device_recipe(name, folder=arguments.config_dir)
        print(f"{name:<18}{device.host or 'this machine'}")
    return True


def _check(arguments: argparse.Namespace) -> bool:
    device = _device(arguments)
    if device.host is None:
        print("this machine: backend-chain doctor says what works here")
        return True
    from deploy.devices.facts import find_facts, skew_text
    from deploy.devices.session import open_session
    from deploy.devices.transfer import has_sftp

    with open_session(device, print) as session:
        facts, skew = find_facts(session)
        sftp = has_sftp(session)
    rows = {
        "system": facts.system,
        "architecture": f"{facts.architecture}, {facts.cores} cores",
        "memory": f"{facts.memory / 2**30:.1f} GiB",
        "governor": facts.governor or "not told",
        "Python": f"{facts.python} ({facts.executable}, {facts.libc or 'C library not told'})",
        "folder": f"{facts.folder}, {facts.disk / 2**30:.1f} GiB free",
        "runtimes": "; ".join(facts.environments) or "none installed",
        "bundles": ", ".join(facts.bundles) or "none",
        "files by": "sftp" if sftp else "rsync" if facts.rsync else "nothing",
        "in use by": facts.holder or "nobody",
    }
    print(f"device {device.name}: {device.host}")
    for title, text in rows.items():
        print(f"  {title:<14}{text}")
    if skew:
        print(f"  note: {skew_text(skew)}")
    obstacles = [*facts.obstacles(), *_no_transfer(sftp, facts.rsync)]
    for obstacle in obstacles:
        print(f"  NOT READY: {obstacle}")
    return not obstacles


def _no_transfer(sftp: bool, rsync: bool) -> Iterator[str]:
    if not (sftp or rsync):
        yield "it has neither sftp nor rsync; turn on 'Subsystem sftp' in its sshd_config"


def _clean(arguments: argparse.Namespace) -> bool:
    from deploy.devices.cleaning import clean_device

    device = _device(arguments)
    left = clean_device(device, print)
    print(f"device {device.name}: removed what runs have put into {device.folder}")
    if left:
        print(f"  {left} other files or folders are left there")
    return True


def _device(arguments: argparse.Namespace) -> DeviceRecipe:
    from backends.contract import DeployError
    from deploy.cli.devices import device_names, device_recipe

    if arguments.name is None:
        names = ", ".join(device_names(arguments.config_dir))
        raise DeployError("no device is named", do=f"Name one of {names}.")
    return device_recipe(arguments.name, arguments.overrides, arguments.config_dir)


_ACTIONS: Mapping[str, Callable[[argparse.Namespace], bool]] = {
    "check": _check,
    "clean": _clean,
    "list": _list,
}
