"""Inference engines, one folder each: a desk half (convert) and a device half (run)."""
