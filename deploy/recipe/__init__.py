"""The recipe: everything that a run is asked to do."""
