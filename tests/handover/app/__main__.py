"""An app that has handover.json, the files that it names, NumPy, Pillow and ncnn; no more.

    python -I tests/handover/app BUNDLE RESULT

It runs the sample's tensors and then the sample's picture, prints the errors of the tensors, and
writes the result of the picture.
"""

import wall

wall.build()  # before anything else is imported

import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import engines  # noqa: E402
import numpy as np  # noqa: E402
import pictures  # noqa: E402
import steps  # noqa: E402


def run_chain(bundle, facts, tensors):
    """All tensors by name, after the steps were called in their order."""
    loaded = {
        step["name"]: engines.Engine(bundle, step["engines"][0]["engine"])
        for step in facts["steps"]
        if step["kind"] == "engine"
    }
    for step in facts["steps"]:
        if step["called_by"]:
            continue
        given = {spec["name"]: tensors[spec["name"]] for spec in step["inputs"]}
        code = step["code"]
        called = [loaded[name] for name in step["calls"]]
        run = loaded.get(step["name"]) or steps.HOST[code["id"]](code, *called)
        tensors |= run(given)
    return tensors


def read_array(bundle, stored):
    """An array by the place of its bytes in a file."""
    dtype = np.dtype(stored["dtype"]).newbyteorder("<")
    count = stored["size"] // dtype.itemsize
    path = f"{bundle}/{stored['file']}"
    array = np.fromfile(path, dtype, count, offset=stored["offset"])
    return array.reshape(stored["shape"])


def check_sample(bundle, facts):
    """The error of each output of the chain for the sample's tensors, and its bound."""
    arrays = {item["name"]: read_array(bundle, item) for item in facts["sample"]["arrays"]}
    inputs = {spec["name"]: arrays[f"input/{spec['name']}"] for spec in facts["inputs"]}
    tensors = run_chain(bundle, facts, dict(inputs))
    errors = {}
    for spec in facts["outputs"]:
        wanted = arrays.get(f"output/{spec['name']}")
        if wanted is not None and wanted.dtype.kind == "f":
            largest = np.abs(wanted - tensors[spec["name"]]).max(initial=0)
            bound = facts["agreement"]["tensors"][spec["name"]]["max_rel"]
            errors[spec["name"]] = [float(largest / np.abs(wanted).max(initial=1e-9)), bound]
    return inputs, errors


def main(bundle, out):
    """Run the sample, and write the result of its picture."""
    facts = json.loads(Path(bundle, "handover.json").read_text())
    assert facts["format"] == 1, "made for another format"
    inputs, errors = check_sample(bundle, facts)
    picture = f"{bundle}/{facts['sample']['picture']['file']}"
    tensor, place = pictures.prepare(facts["picture"], picture)
    name = facts["picture"]["parameters"]["input"]
    errors["picture"] = [float(np.abs(tensor - inputs[name]).max()), 1e-5]
    tensors = run_chain(bundle, facts, {name: tensor})
    post = facts["post"]
    result = steps.POSTS[post["id"]](post, [tensors[name] for name in post["inputs"]], place)
    np.savez(out, **result)
    print(json.dumps(errors))


main(*sys.argv[1:])
