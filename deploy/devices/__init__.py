"""Devices: a bundle is shipped to each, and built, checked, measured and evaluated there."""
