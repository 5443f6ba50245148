"""Compact copies of MMDetection's golden run:  python make.py GOLDEN_FOLDER

keys.json   names, shapes and dtypes of the state dict; SHA-256 of the weights; constants of the
            recipe that makes them
golden.npz  the run without its input, which a recipe makes too. Of the feature maps every 11th
            value; of the deltas those of the pairs of region and class whose share is above 0.05,
            as (region, class, delta), which MMDetection's run has as float16

All other values are exact.
"""

import json
import sys
from pathlib import Path

import numpy as np

NAME = "mask_rcnn_r50_fpn"
STEP, SCORE_THR = 11, 0.05
LEFT_OUT = ("input", "bbox_pred", "masks_shape", "feat_3", "feat_4")


def main(golden: Path, out: Path) -> None:
    """Read the golden folder, write the two files."""
    entries = json.loads((golden / f"{NAME}_keys.json").read_text())["keys"]
    stats = json.loads((golden / f"{NAME}_stats.json").read_text())
    keys = [[entry["key"], entry["shape"], entry["dtype"]] for entry in entries]
    known = {"keys": keys, "sha256": stats["weights_sha256"], "gain": stats["gain"]}
    (out / "keys.json").write_text(json.dumps(known, separators=(",", ":")))
    run = np.load(golden / f"{NAME}_A.npz")
    kept = {name: run[name] for name in run.files if name not in LEFT_OUT}
    maps = {name: run[name].ravel()[::STEP] for name in ("feat_3", "feat_4")}
    np.savez_compressed(out / "golden.npz", **kept, **maps, **deltas(run))


def deltas(run: np.lib.npyio.NpzFile) -> dict[str, np.ndarray]:
    """The deltas that can reach a detection."""
    powers = np.exp(run["cls_score"].astype(float))
    shares = powers[:, :-1] / powers.sum(axis=1, keepdims=True)
    roi, label = np.nonzero(shares > SCORE_THR)
    moves = run["bbox_pred"].reshape(*shares.shape, 4)[roi, label]
    return {
        "pair_roi": roi.astype(np.uint16),
        "pair_class": label.astype(np.uint8),
        "deltas": moves,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent)
