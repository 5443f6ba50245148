"""The desk's work around pnnx: rewrites of the graph, and refusals in the user's words."""
