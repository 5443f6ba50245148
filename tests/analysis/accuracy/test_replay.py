"""A replay of a chain in which some outputs are the reference's."""

from __future__ import annotations

from dataclasses import replace

from backends.contract import EngineError
from deploy.analysis.accuracy.replay import Replay
from deploy.runtime.bundle.manifest import (
    HostStep,
)
from tests.conftest import spec, step
from tests.helpers.blame_bundles import X


def test_a_swap_behind_a_choice_goes_with_the_choice_of_the_reference():
    """The host orders rows the other way round than the reference does."""

    def take(inputs):
        return {"cells": inputs["rows"] * 10}

    def end(inputs):
        return {"y": inputs["rows"] + inputs["cells"]}

    total = replace(step("end", "rows", "y"), inputs=(spec("rows"), spec("cells")))
    pick = HostStep("pick", "test.pick", (spec("x"),), (spec("rows"),))
    steps = [pick, step("take", "rows", "cells"), total]
    runners = [lambda inputs: {"rows": inputs["x"][:, ::-1]}, take, end]
    replay = Replay(list(zip(steps, runners, strict=True)))
    actual = replay.run({"x": X})
    right = {"rows": X, "cells": X * 10, "y": X * 11}
    alone = replay.run_with_outputs(1, actual, {"cells": right["cells"]})
    assert alone["y"].tolist() == [[12, 21]], "rows of the one beside cells of the other"
    choice = {name: right[name] for name in replay.upstream_tensors(1) & {"rows", "cells", "y"}}
    with_choice = replay.run_with_outputs(1, actual, {**choice, "cells": right["cells"]})
    assert with_choice["y"].tolist() == right["y"].tolist()


def test_a_step_that_fails_in_a_swap_leaves_nothing_behind_it():
    def fail(inputs):
        raise EngineError("no")

    steps = [
        (step("one", "x", "t"), lambda inputs: {"t": inputs["x"]}),
        (step("two", "t", "y"), fail),
    ]
    replay = Replay(steps)
    assert replay.run_with_outputs(0, {"x": X, "t": X, "y": X}, {"t": X * 2}).keys() == {"x", "t"}
