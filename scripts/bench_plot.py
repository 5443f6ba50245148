"""``scripts/bench plot``: engines.svg from the rounds in engines.json, both in docs/benchmarks.

It needs matplotlib (``pip install matplotlib``), which nothing else here does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from bench_engines import RESULT
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

KINDS = {  # how a way is told from the others, also without colour
    "by hand": ("#4477aa", ""),
    "a chain of one": ("#66ccee", "///"),
    "cut in three": ("#ccbb44", "xxx"),
    "": ("#bbbbbb", ""),
}


def main() -> None:
    """Draw one panel for each model, its ways in the order of the table."""
    mpl.rcParams.update(
        {"svg.hashsalt": "engines", "svg.fonttype": "none", "font.size": 8, "hatch.linewidth": 0.5}
    )
    models = json.loads(RESULT.read_text())["seconds"]
    figure, panels = plt.subplots(1, len(models), figsize=(12, 3.6), sharey=True)
    for panel, (model, ways) in zip(panels, models.items(), strict=True):
        _draw(panel, model, ways)
    figure.tight_layout()
    figure.savefig(RESULT.with_suffix(".svg"), metadata={"Date": None})


def _draw(panel: Axes, model: str, ways: dict[str, Sequence[Sequence[float]]]) -> None:
    for place, (name, rounds) in enumerate(ways.items()):
        low, middle, high = np.percentile(np.array(rounds)[:, 0] * 1e3, [25, 50, 75])
        colour, hatch = next(look for kind, look in KINDS.items() if kind in name)
        spread = [[middle - low], [high - middle]]
        panel.barh(place, middle, color=colour, hatch=hatch, edgecolor="black", linewidth=0.5)
        panel.errorbar(middle, place, xerr=spread, color="black", capsize=2, linewidth=0.8)
        panel.text(high, place, f"  {middle:.1f}", va="center")
    panel.set_yticks(range(len(ways)), list(ways))
    panel.invert_yaxis()
    panel.margins(x=0.18)
    panel.set_title(model)
    panel.set_xlabel("ms a call, median and quartiles")
    panel.spines[["top", "right"]].set_visible(False)
