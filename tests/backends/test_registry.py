"""Backends are found by the names of their folders, and what is missing is said."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest
import yaml

from backends import registry
from backends.contract import MissingLibraryError
from backends.registry import UnknownBackendError


def test_every_folder_is_a_backend_with_its_yaml():
    from deploy.cli.catalog import conf_folder, config_choices

    files = {name: conf_folder() / "backend" / f"{name}.yaml" for name in config_choices("backend")}
    named = {file: yaml.safe_load(path.read_text())["name"] for file, path in files.items()}
    assert registry.names()
    assert set(registry.names()) == set(named.values())
    assert all(named[name] == name for name in registry.names())
    # a further file has other options of a backend, whose name is the first part of its own
    assert all(file.startswith(f"{name}_") for file, name in named.items() if file != name)


@pytest.mark.parametrize("name", registry.names())
def test_every_backend_describes_itself(name):
    about = registry.about(name)
    assert about.summary and about.extra and about.convert and about.run


def test_an_unknown_name_lists_the_known_ones_before_anything_is_imported():
    known = " or ".join(registry.names())
    for find in (registry.converter, registry.loader, registry.about, registry.options_type):
        with pytest.raises(UnknownBackendError, match=f"expected {known}, got 'os.path'"):
            find("os.path")


@pytest.mark.parametrize("name", registry.names())
def test_a_missing_engine_names_the_extra_to_install(name, monkeypatch):
    for library in registry.about(name).run:
        for module in modules_of(library):
            monkeypatch.setitem(sys.modules, module, None)
    for module in [one for one in sys.modules if one.startswith(f"{registry.package(name)}.")]:
        monkeypatch.delitem(sys.modules, module)
    extra = registry.about(name).device_extra or registry.about(name).extra
    with pytest.raises(MissingLibraryError, match=rf"pip install '\.\[{extra}\]'"):
        registry.loader(name)


def modules_of(distribution: str) -> list[str]:
    """The modules that a distribution installs."""
    found = [
        module
        for module, names in packages_distributions().items()
        if distribution in {re.sub(r"[-_.]+", "-", name).lower() for name in names}
    ]
    assert found, distribution
    return found


def test_describing_a_backend_imports_no_engine():
    code = (
        "import sys; from backends import registry as r;"
        "[(r.about(n), r.options_type(n)) for n in r.names()];"
        "print(*(lib for n in r.names() for lib in r.about(n).run if lib in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
