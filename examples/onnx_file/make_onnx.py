"""Writes colours.onnx, a file as it may come from anywhere, and three pictures for it."""

import onnx
from PIL import Image

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
colours (float[1,3,32,32] image) => (float[1,3] scores)
<float[3,3] weight = {8, -4, -4, -4, 8, -4, -4, -4, 8}, float[3] bias = {0, 0, 0}>
{
    pooled = GlobalAveragePool (image)
    features = Flatten (pooled)
    scores = Gemm (features, weight, bias)
}
"""


def main() -> None:
    """Write the file, and plain pictures of its three classes."""
    onnx.save(onnx.parser.parse_model(MODEL), "colours.onnx")
    for name, colour in {"red": "firebrick", "green": "seagreen", "blue": "navy"}.items():
        Image.new("RGB", (48, 32), colour).save(f"{name}.png")
    print("wrote colours.onnx, red.png, green.png and blue.png")


if __name__ == "__main__":
    main()
