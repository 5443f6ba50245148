"""Which step of a chain is to blame, and which operator within it."""
