"""A backend for tests: ncnn, without what keeps pnnx from losing the axes of a reduction."""

from backends.ncnn import ABOUT, Options

__all__ = ["ABOUT", "Options"]
