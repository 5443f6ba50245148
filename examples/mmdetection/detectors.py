"""MMDetection's own models as ``model.target``; nothing in MMDetection is changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mmdet
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from torch import nn

CONFIGS = Path(mmdet.__file__).parent / ".mim" / "configs"


def from_config(config: str, options: Mapping[str, Any] | None = None) -> nn.Module:
    """The detector of a configuration file, with the weights that its code initialises.

    Args:
        config: a file, or its path below MMDetection's ``configs``.
        options: replace values of the file, as ``--cfg-options`` of MMDetection's tools does, such
            as ``{"model.bbox_head.num_classes": 3}``.
    """
    register_all_modules()
    path = Path(config)
    settings = Config.fromfile(path if path.is_file() else CONFIGS / path)
    settings.merge_from_dict({"model.backbone.init_cfg": None, **(options or {})})
    return MODELS.build(settings.model)
