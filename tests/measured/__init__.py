"""The measured tables of the documentation: made by ``scripts/bench pages``, marked where old."""
