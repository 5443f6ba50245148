"""Layered diagrams of boxes and arrows as SVG."""
