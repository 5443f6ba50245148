"""The backends of the tests that go wrong quietly, beside those there are."""

from backends import registry

PACKAGES = {
    **registry._packages(),
    "saboteur": "tests.helpers.saboteur",
    "careless": "tests.helpers.careless",
}
