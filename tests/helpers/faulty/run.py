"""The device half of the test backend."""

from dataclasses import replace

import backends.onnxruntime.run as honest
from backends.contract import EngineError


class FailingRunner:
    def __init__(self, runner):
        self.runner = runner

    def __call__(self, inputs):
        raise EngineError("the run failed")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def load(artifact, root):
    runner = honest.load(replace(artifact, backend="onnxruntime", options={}), root)
    return FailingRunner(runner) if artifact.options["run_fails"] else runner
