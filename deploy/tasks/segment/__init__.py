"""Segmentation: a class for each pixel of a picture, or a mask for each object."""
