"""Accuracy debugging: the step, and the operator, that make a bundle differ from its reference."""
