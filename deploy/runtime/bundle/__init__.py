"""A bundle on disk: manifest, integrity, samples, archives, signatures, choice of engines."""
