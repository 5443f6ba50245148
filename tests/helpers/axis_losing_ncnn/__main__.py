"""The standalone converter of the test backend."""

from backends import registry
from backends.convert_cli import main
from tests.helpers.faulty_backends import PACKAGES_WITH_FAULTY

registry._packages = lambda: PACKAGES_WITH_FAULTY
main("axis_losing_ncnn")
