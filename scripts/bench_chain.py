"""What a chain costs beside hand-written calls of the same sessions and host functions.

``scripts/bench chain`` measures two chains of tiny segments and those of three demos;
``scripts/bench chain BUNDLE...`` measures these bundles, whose engines are ONNX Runtime's on the
CPU. Each is measured in a process of its own, and the demos' engines have one thread: those of
several sessions disturb each other by more than a chain costs.

The hand-written calls leave out what a chain does beside calling: no check of names, dtypes, shapes
and NaN, no copy to contiguous memory, no conversion between precisions, no look for empty tensors,
nothing freed early, no time taken, no errors named. Both ways must give the same bits.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from bench_rounds import Quartiles, paired, quartiles, spread
from bench_tiny import CHAINS, tiny

from backends.contract import Array, Artifact, Runner, Tensors
from backends.onnxruntime.run import OrtRunner
from deploy.runtime.bundle.sample import read_sample
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.host_steps import HostRunner, make_host_function
from deploy.runtime.execution.schedule import Step
from deploy.runtime.pipeline import Pipeline

SHARE, PER_BORDER = 0.02, 25e-6  # of the hand-written time; seconds
DEMOS = {
    "yolov3": ["+model=yolov3", "+partition=by_stage"],
    "seq2seq": ["+model=seq2seq"],
    "mask_rcnn": ["+model=mask_rcnn"],
}
HEAD = (
    "| chain | steps | borders | calls | by hand, us | more, us | ratio "
    "| more a border, us | more a hand-over, us | bound, us | |\n" + "|---" * 11 + "|"
)

Call = Callable[[Tensors], dict[str, Array]]


@dataclass(frozen=True)
class Figures:
    """What was measured of a chain; seconds are of one call of the whole chain.

    Attributes:
        steps: those that the chain runs itself.
        borders: pairs of steps of which one takes what the other makes.
        calls: of engines and host functions, in one call of the chain.
        hand: seconds of the hand-written calls.
        more: seconds that the chain takes beyond them.
        ratio: the chain's seconds over theirs.
    """

    steps: int
    borders: int
    calls: int
    hand: Quartiles
    more: Quartiles
    ratio: Quartiles


def main(bundles: Sequence[str]) -> None:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        chains = bundles or [*CHAINS, *_demos(Path(folder))]
        print(HEAD, flush=True)
        for chain in chains:
            command = [sys.executable, __file__, chain]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            print(row(Path(chain).name, Figures(**json.loads(done.stdout))), flush=True)


def _demos(folder: Path) -> Iterator[str]:
    for name, arguments in DEMOS.items():
        bundle = f"bundle={folder / name}"
        chosen = [*arguments, "+backend=onnxruntime", "backend.options.threads=1", bundle]
        command = [sys.executable, "-m", "deploy", *chosen]
        subprocess.run(command, check=True, capture_output=True)
        yield str(folder / name)


def row(name: str, found: Figures) -> str:
    """A line of the table; a hand-over is from one call to the next, in a host step's loop too."""
    bound = max(SHARE * found.hand[1], PER_BORDER * found.borders)
    return (
        f"| {name} | {found.steps} | {found.borders} | {found.calls} | {found.hand[1] * 1e6:,.0f} "
        f"| {spread(found.more, 1e6, 1)} | {spread(found.ratio, 1, 3)} "
        f"| {spread(found.more, 1e6 / found.borders, 1)} "
        f"| {spread(found.more, 1e6 / (found.calls - 1), 1)} "
        f"| {bound * 1e6:,.0f} | {'kept' if found.more[1] <= bound else 'missed'} |"
    )


def measure(chain: Chain, inputs: Tensors, outputs: Sequence[str]) -> Figures:
    """Both ways, behind a call of each that must give the same bits."""
    counted: list[str] = []
    expected = by_hand(chain, outputs, lambda step, call: _counting(step, call, counted))(inputs)
    found = chain(inputs)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], name)
    plain = by_hand(chain, outputs, lambda step, call: call)
    hand, ours = paired(lambda: plain(inputs), lambda: chain(inputs)).T
    return Figures(
        steps=len(chain.steps),
        borders=_borders([step for step, _ in (*chain.steps, *chain.called)]),
        calls=len(counted),
        hand=quartiles(hand),
        more=quartiles(ours - hand),
        ratio=quartiles(ours / hand),
    )


def by_hand(chain: Chain, outputs: Sequence[str], wrapped: Callable[[Step, Call], Call]) -> Call:
    """The chain's steps in its order, and nothing but calls between dictionaries of arrays."""
    called = {step.name: wrapped(step, _engine(step, runner)) for step, runner in chain.called}
    steps = [
        ([spec.name for spec in step.inputs], wrapped(step, _plain(step, runner, called)))
        for step, runner in chain.steps
    ]

    def run(inputs: Tensors) -> dict[str, Array]:
        values = dict(inputs)
        for names, call in steps:
            values.update(call({name: values[name] for name in names}))
        return {name: values[name] for name in outputs}

    return run


def _plain(step: Step, runner: Runner, called: dict[str, Call]) -> Call:
    if isinstance(step, Artifact):
        return _engine(step, runner)
    if step.calls:  # its code once more, with the bare sessions to call
        return make_host_function(step, {name: called[name] for name in step.calls})
    assert isinstance(runner, HostRunner)
    return runner._function


def _engine(step: Artifact, runner: Runner) -> Call:
    if not isinstance(runner, OrtRunner):
        sys.exit(f"'{step.name}': expected ONNX Runtime on the CPU, got {type(runner).__name__}")
    session, names = runner._session, [spec.name for spec in step.outputs]
    return lambda feed: dict(zip(names, session.run(names, feed), strict=True))


def _counting(step: Step, call: Call, counted: list[str]) -> Call:
    def run(inputs: Tensors) -> dict[str, Array]:
        counted.append(step.name)
        return call(inputs)

    return run


def _borders(steps: Sequence[Step]) -> int:
    """The pairs of steps of which one takes a tensor of the other."""
    made = [{spec.name for spec in step.outputs} for step in steps]
    taken = [{spec.name for spec in step.inputs} for step in steps]
    return sum(bool(source & target) for source in made for target in taken)


def child(chain: str) -> None:
    """Measure one chain and print its figures as JSON."""
    if chain in CHAINS:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(*tiny(chain, Path(folder)))
    else:
        with Pipeline.open(chain) as opened:
            inputs = read_sample(Path(chain), opened.manifest).inputs
            found = measure(opened.chain, inputs, [one.name for one in opened.manifest.outputs])
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    child(*sys.argv[1:])
