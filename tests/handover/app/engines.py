"""ncnn as the facts of an engine in handover.json say."""

import ncnn
import numpy as np


class Engine:
    """A net."""

    def __init__(self, bundle, facts):
        self._facts = facts
        self._net = ncnn.Net()
        for name, value in facts["settings"].items():
            setattr(self._net.opt, name, value)
        if facts["threads"]:
            self._net.opt.num_threads = facts["threads"]
        by_role = {role: name for name, role in facts["roles"].items()}
        for load, role in (
            (self._net.load_param, "the layers, for Net::load_param"),
            (self._net.load_model, "the weights, for Net::load_model"),
        ):
            assert load(f"{bundle}/{by_role[role]}") == 0, "the net does not load"

    def __call__(self, tensors):
        """The outputs, by the names of their tensors."""
        if self._facts["calls"] == "once":
            return self._run(tensors)
        count = len(next(iter(tensors.values())))
        rows = [
            self._run({name: array[row : row + 1] for name, array in tensors.items()})
            for row in range(count)
        ]
        empty = {
            item["tensor"]: np.zeros((0, *item["shape"][1:]), np.float32)
            for item in self._facts["outputs"]
        }
        return {name: np.concatenate([empty[name], *(row[name] for row in rows)]) for name in empty}

    def _run(self, tensors):
        extractor = self._net.create_extractor()
        for item in self._facts["inputs"]:
            array = np.asarray(tensors[item["tensor"]], np.float32).reshape(item["shape"])
            assert extractor.input(item["name"], mat_of(array, item)) == 0
        outputs = {}
        for item in self._facts["outputs"]:
            code, mat = extractor.extract(item["name"])
            assert code == 0
            outputs[item["tensor"]] = np.array(mat).reshape(item["shape"])
        return outputs


def mat_of(array, item):
    """A Mat with the sides that the facts say, filled channel by channel."""
    layout = item["layout"]
    assert layout.get("n", 1) == 1, "no net here has a batch of several"
    sides = [layout[side] for side in "whdc" if side in layout]
    mat = ncnn.Mat(*sides)
    assert mat.cstep == layout["cstep"]
    values = array.reshape(sides[::-1])
    if len(sides) > 2:
        for number, channel in enumerate(values):
            np.array(mat.channel(number), copy=False)[:] = channel
    else:
        np.array(mat, copy=False)[:] = values
    return mat
