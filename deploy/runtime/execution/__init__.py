"""The chain of a bundle: loading, schedule, tensors, host steps and streams."""
