"""The standalone converter of the test backend."""

from backends import registry
from backends.convert_cli import main
from tests.helpers.planting import PACKAGES

registry._packages = lambda: PACKAGES
main("saboteur")
