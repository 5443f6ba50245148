"""Results of stages, kept under what decides them, so that no work is done twice."""
