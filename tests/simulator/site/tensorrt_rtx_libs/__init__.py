"""The libraries of TensorRT for RTX, of which the double has none."""
