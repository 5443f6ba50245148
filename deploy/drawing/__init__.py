"""Boxes and arrows as SVG."""
