"""``python -m backends.ncnn MODEL.onnx OUT``, also installed as ``onnx2ncnn``."""

from __future__ import annotations

from backends.convert_cli import main as convert


def main() -> None:
    """Convert one ONNX file."""
    convert("ncnn")


if __name__ == "__main__":
    main()
