"""Text in pictures: boxes around lines of text, and what a line says."""
