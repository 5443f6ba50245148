"""Compact copies of MMDetection's golden runs:  python make.py GOLDEN_FOLDER

keys.json    names and shapes of the state dicts
params.json  constants of the recipe that makes the weights
build.npz    every 11th value of the raw maps, every 25th row of the decoded arrays
post.npz     objectness of all anchors; all values of the anchors whose best class score is above
             0.04 (the threshold is 0.05); the detections that MMDetection made of them

All values are exact float32.
"""

import json
import sys
from pathlib import Path

import numpy as np

NAMES = {"darknet53": "yolov3_d53", "mobilenetv2": "yolov3_mobilenetv2"}
STRIDE, ROWS, LIKELY = 11, 25, 0.04


def main(golden: Path, out: Path) -> None:
    """Read the golden folder, write the four files."""
    constants = json.loads((golden / "params.json").read_text())
    keys, params, build, post = {}, {}, {}, {}
    for backbone, name in NAMES.items():
        entries = json.loads((golden / f"{name}_keys.json").read_text())["keys"]
        keys[backbone] = [[entry["key"], entry["shape"]] for entry in entries]
        params[backbone] = constants[name]["variants"]["A"]
        run = np.load(golden / f"{name}_A.npz")
        build |= {f"{backbone}/{key}": value for key, value in build_arrays(run).items()}
        post |= {f"{backbone}/{key}": value for key, value in post_arrays(run).items()}
    (out / "keys.json").write_text(json.dumps(keys, separators=(",", ":")))
    (out / "params.json").write_text(json.dumps(params))
    np.savez_compressed(out / "build.npz", **build)
    np.savez_compressed(out / "post.npz", **post)


def build_arrays(run: np.lib.npyio.NpzFile) -> dict[str, np.ndarray]:
    """Samples of the raw maps and of the decoded arrays."""
    maps = {f"map{level}": run[f"pred_map_{level}"].ravel()[::STRIDE] for level in range(3)}
    parts = ("boxes", "cls_scores", "objectness")
    return maps | {part: run[f"decoded_{part}"][::ROWS] for part in parts}


def post_arrays(run: np.lib.npyio.NpzFile) -> dict[str, np.ndarray]:
    """What can reach a detection, and the detections."""
    arrays = {"dets": run["dets"], "labels": run["labels"]}
    for level in range(3):
        raw = run[f"pred_map_{level}"]
        rows = raw.reshape(3, 85, -1)
        likely = (1 / (1 + np.exp(-rows[:, 5:].astype(float)))).max(axis=1) > LIKELY
        anchor, cell = np.nonzero(likely)
        arrays |= {
            f"shape{level}": np.array(raw.shape),
            f"objectness{level}": rows[:, 4],
            f"anchor{level}": anchor.astype(np.uint8),
            f"cell{level}": cell.astype(np.uint16),
            f"rows{level}": rows[anchor, :, cell],
        }
    return arrays


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent)
