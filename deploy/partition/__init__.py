"""Exported graph -> segments: cuts, cut points, subgraphs, tensor names and host steps."""
