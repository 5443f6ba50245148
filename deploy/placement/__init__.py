"""Segments -> smaller ones, each for the first of the preferred engines that takes its nodes."""
