"""Model, marks and rewrites -> an exported graph, and the reference to compare with."""
