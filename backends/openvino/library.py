"""OpenVINO's own module, imported without its telemetry.

If the distribution openvino-telemetry is installed, which OpenVINO requires, ``import openvino``
reports itself over the network and writes an identifier into the user's home. OpenVINO works
without it, so its import is blocked while OpenVINO is imported.
"""

import sys

_TELEMETRY = "openvino_telemetry"
sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]  # None blocks an import

import openvino as ov  # noqa: E402

if sys.modules[_TELEMETRY] is None:
    del sys.modules[_TELEMETRY]

__all__ = ["ov"]
