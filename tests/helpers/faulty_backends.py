"""The registered backends, and the faulty ones of the tests."""

from backends import registry

PACKAGES_WITH_FAULTY = {
    **registry._packages(),
    "faulty": "tests.helpers.faulty",
    "axis_losing_ncnn": "tests.helpers.axis_losing_ncnn",
}
