"""The ncnn module, imported with an OpenMP setting that leaves the cores to other programs.

Between two layers OpenMP's threads spin for milliseconds. With two programs on two cores, calls
that take 22 ms alone took 130 ms to 2.6 s. With a spin count of 1,000 they take 23 ms alone, and
48 ms where two programs share the cores (docs/speed.md has the commands). OpenMP reads the
environment when it is loaded, and ncnn's wheel brings its own copy of it.
"""

import os

_SPIN_COUNT, _WAIT_POLICY = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"
_is_unset = not {_SPIN_COUNT, _WAIT_POLICY} & os.environ.keys()  # the user's own setting holds
if _is_unset:
    os.environ[_SPIN_COUNT] = "1000"

import ncnn  # noqa: E402

if _is_unset:
    del os.environ[_SPIN_COUNT]

__all__ = ["ncnn"]
