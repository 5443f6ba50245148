"""Encoder-decoders of transformers that write token by token."""
