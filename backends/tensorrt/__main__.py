"""``onnx2tensorrt MODEL.onnx OUT``."""

from backends.command import main as convert


def main() -> None:
    """Convert one ONNX file."""
    convert("tensorrt")


if __name__ == "__main__":
    main()
