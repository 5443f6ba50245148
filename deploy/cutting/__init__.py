"""How a graph is cut: the rooms behind ``deploy.partition``."""
