"""Oriented object detection: boxes that are rotated."""
