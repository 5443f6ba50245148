"""Tasks, one folder each: the steps that read a family of models' outputs, and their results."""
