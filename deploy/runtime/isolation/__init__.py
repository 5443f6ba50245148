"""Bundles of others: their engines and host steps run in a process of their own."""
