"""``onnx2ncnn MODEL.onnx OUT``."""

from backends.command import main as convert


def main() -> None:
    """Convert one ONNX file."""
    convert("ncnn")


if __name__ == "__main__":
    main()
