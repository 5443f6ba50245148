"""ONNX graphs: loading, indexing, shapes, points and writing."""
