"""The ncnn module, imported with an OpenMP setting that leaves the cores to other programs."""

from backends.process.openmp import short_spins

with short_spins():
    import ncnn

__all__ = ["ncnn"]
