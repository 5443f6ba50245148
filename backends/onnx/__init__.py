"""ONNX files, checked before any library opens them."""
