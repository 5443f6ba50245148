"""Runs that are killed, or meet a full disk, at every point where they write."""
