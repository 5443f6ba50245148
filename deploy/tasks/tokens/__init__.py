"""Tokens of a vocabulary: the text that a model writes, and the tags of a text."""
