"""The precision stage: segments to segments in another precision, with the types in the graph."""
