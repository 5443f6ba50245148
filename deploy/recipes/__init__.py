"""The parts of a recipe; ``deploy.recipe`` has them all."""
