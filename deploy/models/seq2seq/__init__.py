"""Encoder-decoders of transformers that generate token by token."""
