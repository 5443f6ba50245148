"""What the tests share: MMDetection's golden run, and the model with its weights."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import mask_golden

from deploy.models.mask_rcnn.build import MaskRCNN


@pytest.fixture(scope="session")
def golden_model() -> MaskRCNN:
    """The full model with the golden weights."""
    model = MaskRCNN().eval()
    model.load_state_dict(mask_golden.weights())
    return model
