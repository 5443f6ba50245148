"""What TensorRT and TensorRT for RTX share: their Python API, CUDA's driver and a GPU's memory."""
