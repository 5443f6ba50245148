"""Copies of MMDetection's golden run that the build tests need:  python make_build.py GOLDEN_FOLDER

Writes keys.json (state dict names and shapes), params.json (constants of the weight recipe) and
build.npz: every 7th value of the raw maps and every 25th row of the decoded arrays, exact float32.
"""

import json
import sys
from pathlib import Path

import numpy as np

NAMES = {"darknet53": "yolov3_d53", "mobilenetv2": "yolov3_mobilenetv2"}
STRIDE, ROWS = 7, 25


def main(golden: Path, out: Path) -> None:
    """Read the golden folder, write the three files."""
    constants = json.loads((golden / "params.json").read_text())
    keys, params, arrays = {}, {}, {}
    for backbone, name in NAMES.items():
        entries = json.loads((golden / f"{name}_keys.json").read_text())["keys"]
        keys[backbone] = [[entry["key"], entry["shape"]] for entry in entries]
        params[backbone] = constants[name]["variants"]["A"]
        run = np.load(golden / f"{name}_A.npz")
        for level in range(3):
            arrays[f"{backbone}/map{level}"] = run[f"pred_map_{level}"].ravel()[::STRIDE]
        for part in ("boxes", "cls_scores", "objectness"):
            arrays[f"{backbone}/{part}"] = run[f"decoded_{part}"][::ROWS]
    (out / "keys.json").write_text(json.dumps(keys, separators=(",", ":")))
    (out / "params.json").write_text(json.dumps(params))
    np.savez_compressed(out / "build.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent)
