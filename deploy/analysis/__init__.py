"""Analysis of models and bundles: cut points and their cost, accuracy debugging, GPU checks."""
