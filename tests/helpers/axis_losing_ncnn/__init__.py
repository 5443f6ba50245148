"""A backend for tests: ncnn, without the check that keeps pnnx from losing a reduction's axes."""

from backends.ncnn import ABOUT, Options

__all__ = ["ABOUT", "Options"]
