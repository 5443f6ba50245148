"""Models, one folder each: a desk half (build) and a device half (post)."""
