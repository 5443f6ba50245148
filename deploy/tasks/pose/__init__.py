"""Poses: objects with keypoints."""
