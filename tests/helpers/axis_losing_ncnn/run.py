"""The device half of the test backend."""

from backends.ncnn.run import load

__all__ = ["load"]
