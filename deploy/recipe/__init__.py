"""The recipe: the typed configuration of a run, and its checks."""
