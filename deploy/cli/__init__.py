"""The command line: the Hydra application, and one module for each command."""
