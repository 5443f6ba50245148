"""``onnx2onnxruntime MODEL.onnx OUT``."""

from __future__ import annotations

from backends.convert_cli import main as convert


def main() -> None:
    """Convert one ONNX file."""
    convert("onnxruntime")


if __name__ == "__main__":
    main()
