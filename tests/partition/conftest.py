"""What the tests of the partition share."""

from __future__ import annotations

import pytest

from deploy.export.onnx_export import export
from deploy.graph.exported import Exported
from tests.helpers.chains import net, samples


@pytest.fixture(scope="session")
def exported_marked_net(tmp_path_factory) -> Exported:
    """The marked model of ``tests.helpers.chains``, exported."""
    return export(net(), samples(), tmp_path_factory.mktemp("marked_net"))
