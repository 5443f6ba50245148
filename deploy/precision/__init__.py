"""Segment -> segment in another precision; the graph itself says what computes in which type."""
