"""Backend-chaining deployment of PyTorch models: export, cut, convert, chain, verify."""

from deploy.cli.old_names import install

install()
