"""Types of the parameters that detectors share, with bounds far from any published value.

A manifest gives these parameters, and loops and allocations grow with them.
"""

from __future__ import annotations

from typing import Annotated

from backends.bounds import Between

ClassCount = Annotated[int, Between(1, 100_000)]
"""The number of classes; a manifest names as many at most."""


Threshold = Annotated[float, Between(-1, 1)]
"""The least score or objectness; -1 lets everything pass, as in MMDetection's configurations."""


Overlap = Annotated[float, Between(0, 1)]
"""An intersection over union."""


CandidateCount = Annotated[int, Between(1, 100_000)]
"""How many candidates enter NMS; its time grows with them times the boxes that it keeps."""


BoxCount = Annotated[int, Between(1, 10_000)]
"""The largest number of boxes of a picture."""


Pixels = Annotated[int, Between(1, 100_000)]
"""The height or width of a picture."""
