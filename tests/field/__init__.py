"""Models that nobody here made, deployed as a user deploys them; ``scripts/check-field``."""
