"""A segment's graph in half precision, value by value."""
