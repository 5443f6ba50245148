"""A small model that chooses rows on the host: an export only holds the place."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from deploy.mark import mark, mark_here


class Net(nn.Module):
    """Doubles ``x`` (4, 3), keeps the rows that begin above 0, and adds 1 to what is left."""

    def forward(self, x):
        kept, places = choose(mark_here("scores", x * 2))
        return {"y": mark_here("head", kept + 1), "places": places}


@mark("choose", inputs=["scores"], outputs=["kept", "places"])
def choose(scores):
    if torch.compiler.is_exporting():
        count = _place("count", scores, torch.int64).item()
        torch._check(count >= 1)
        kept = _place("kept", scores, torch.float32, count, 3)
        return kept, _place("places", scores, torch.int64, count)
    places = (scores[:, 0] > 0).nonzero()[:, 0]
    return scores[places], places


def _place(output, scores, dtype, *shape):
    return torch.onnx.ops.symbolic(
        "deploy::HostStep",
        [scores],
        attrs={"step": "Choose", "output": output},
        dtype=dtype,
        shape=shape,
        version=1,
    )


class Choose:
    """The host step; it is to get fp32 whatever is around it."""

    def __call__(self, inputs):
        scores = inputs["scores"]
        assert scores.dtype == np.float32, scores.dtype
        places = np.flatnonzero(scores[:, 0] > 0)
        return {"kept": scores[places], "places": places.astype(np.int64)}
