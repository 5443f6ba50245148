"""ncnn's own module, whose threads do not wait busily for long.

They are OpenMP's. Between two layers they look for work, for milliseconds, and keep the cores from
everybody else: with two programs on two cores, calls that take 22 ms alone took 130 ms to 2.6 s.
With 1,000 looks they take 23 ms alone, and 48 ms where two share the cores (docs/speed.md has the
commands). OpenMP reads the environment when it is loaded, and ncnn's wheel brings one of its own.
"""

import os

_LOOKS, _POLICY = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"
_is_ours = not {_LOOKS, _POLICY} & os.environ.keys()  # what the user has said holds
if _is_ours:
    os.environ[_LOOKS] = "1000"

import ncnn  # noqa: E402

if _is_ours:
    del os.environ[_LOOKS]

__all__ = ["ncnn"]
