"""A setting of OpenMP that leaves the cores to other programs.

Between two operators OpenMP's threads spin for milliseconds. With two programs on two cores,
calls that take 22 ms alone took 130 ms to 2.6 s. With a spin count of 1,000 they take 23 ms alone,
and 48 ms where two programs share the cores (docs/speed.md has the commands).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_SPIN_COUNT, _WAIT_POLICY = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"


@contextmanager
def short_spins() -> Iterator[None]:
    """Import a library whose OpenMP threads soon sleep; the user's own setting holds.

    OpenMP reads the environment when it is loaded, and each library brings its own copy of it.
    """
    if {_SPIN_COUNT, _WAIT_POLICY} & os.environ.keys():
        yield
        return
    os.environ[_SPIN_COUNT] = "1000"
    try:
        yield
    finally:
        del os.environ[_SPIN_COUNT]
