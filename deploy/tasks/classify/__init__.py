"""Classification: the classes of a whole picture."""
