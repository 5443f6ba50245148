"""``onnx2tensorrt_rtx MODEL.onnx OUT``."""

from __future__ import annotations

from backends.convert_cli import main as convert


def main() -> None:
    """Convert one ONNX file."""
    convert("tensorrt_rtx")


if __name__ == "__main__":
    main()
