"""``onnx2openvino MODEL.onnx OUT``."""

from backends.command import main as convert


def main() -> None:
    """Convert one ONNX file."""
    convert("openvino")


if __name__ == "__main__":
    main()
