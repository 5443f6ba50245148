"""ncnn's own module, whose threads do not wait busily for long.

They are OpenMP's. Between two layers they look for work, for milliseconds, and keep the cores from
everybody else: with two programs on two cores, a call that takes 14 ms alone took more than 2 s.
With 1,000 looks it takes 15 ms alone, and 41 ms where two share the cores (the demo cut in three).
OpenMP reads the environment when it is loaded, and ncnn's wheel brings one of its own.
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
