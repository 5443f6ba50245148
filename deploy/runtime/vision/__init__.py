"""Pictures: decoding, preprocessing, detections, masks, suppression and drawing."""

CONFIDENT = 0.3
"""Detections below this score vary with rounding: they are not printed, drawn or compared."""
