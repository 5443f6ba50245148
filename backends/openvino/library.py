"""OpenVINO's own module, without what it tells its vendor.

``import openvino`` alone reports itself over the network and writes an identifier into the user's
home, where the distribution openvino-telemetry is installed; OpenVINO requires it, and does without
it where it cannot be imported. So it cannot be, for as long as OpenVINO is being imported.
"""

import sys

_TELEMETRY = "openvino_telemetry"
sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]  # Python's way to say so

import openvino as ov  # noqa: E402

if sys.modules[_TELEMETRY] is None:
    del sys.modules[_TELEMETRY]

__all__ = ["ov"]
