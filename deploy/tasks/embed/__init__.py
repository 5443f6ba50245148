"""Embeddings: a vector for each picture or input."""
