"""``onnx2onnxruntime MODEL.onnx OUT``."""

from backends.command import main as convert


def main() -> None:
    """Convert one ONNX file."""
    convert("onnxruntime")


if __name__ == "__main__":
    main()
