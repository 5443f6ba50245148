"""Backend-chaining deployment of PyTorch models: export, cut, convert, chain, verify."""
