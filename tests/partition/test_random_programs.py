"""Random models with random marks: same bits wherever they are cut, or an error that says why.

``DEPLOY_RANDOM_PROGRAMS=150`` lets more of them run than the few of every day.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import onnx_ir
import pytest
import torch
from hypothesis import HealthCheck, given, note, settings

from backends.contract import Dynamic
from deploy.export.module_marks import mark_modules
from deploy.export.nested_tensors import iter_tensors
from deploy.export.onnx_export import export, reference_values
from deploy.mark import capture
from deploy.partition.cut_points import Cut, PartitionError
from deploy.partition.segments import Partition, partition
from tests.helpers.random_programs import Program, programs
from tests.helpers.reference_run import all_tensors, close, run_unoptimized, same

pytestmark = pytest.mark.slow

COUNT = int(os.environ.get("DEPLOY_RANDOM_PROGRAMS", "6"))
LIMIT = 12  # cuts of each sort


def test_random_programs_are_the_same_however_they_are_cut():
    legal = []

    @settings(
        max_examples=COUNT,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(programs())
    def check(program):
        note(str(program))
        _check_eager(program)
        with tempfile.TemporaryDirectory() as folder:
            legal.append(_Cuts(program, Path(folder)).check())

    check()
    assert sum(legal) > 5 * COUNT, "most of the cuts are refused"


def _check_eager(program: Program) -> None:
    inputs, model = program.samples(2), program.model()
    with torch.no_grad():
        expected = program.model(marked=False)(**inputs)
        plain = model(**inputs)
        with mark_modules(model, program.marks), capture():
            captured = model(**inputs)
    for found in (plain, captured):
        pairs = zip(iter_tensors(found, "y"), iter_tensors(expected, "y"), strict=True)
        assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


class _Cuts:
    """One exported program, and every tensor of it that has a name, for some batches."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.folder = folder
        self.legal = 0
        self.random = random.Random(str(program))
        self.inputs = {value.text: value for value in program.inputs}
        model, sample = program.model(), program.samples(2)
        batch = {0: Dynamic("batch", 1, 2, 4)}
        axes = dict.fromkeys(sample, batch) if program.dynamic else None
        with mark_modules(model, program.marks):
            self.exported = export(model, sample, folder, axes)
            batches = [program.samples(n) for n in ((2, 1, 3) if program.dynamic else (2,))]
            self.torch = [reference_values(model, inputs) for inputs in batches]
        self.arrays = [{k: v.numpy() for k, v in inputs.items()} for inputs in batches]
        self.whole = [all_tensors(self.exported.onnx, inputs) for inputs in self.arrays]
        points = [str(at) for at in self.exported.marks]
        self.sides = list(dict.fromkeys(re.sub(r"(:\w+).*", r"\1", point) for point in points))
        self.places = [*self.sides, *points, *(at.mark for at in self.exported.marks)]
        self.passed_on = {
            spec.name
            for spec in self.exported.outputs
            if any(same(self.whole[0][spec.name], given) for given in self.arrays[0].values())
        }
        self.names = [*self.places, *self.inputs, *(spec.name for spec in self.exported.outputs)]

    def check(self) -> int:
        """Cut everywhere, or at some places where there are many; how many cuts there are."""
        self._cut([], [])
        for border in self._some([[place] for place in set(self.places)]):
            self._across([border])
        for border in self._some(list(map(list, itertools.combinations(self.places, 2)))):
            self._across([border])
        for two in self._some(list(itertools.permutations(self.sides, 2))):
            self._across([[two[0]], [two[1]]])
        for three in self._some(list(itertools.permutations(self.places, 3))):
            self._across([[three[0]], [three[1], three[2]]])
        starts = [*self.sides, *self.inputs]
        ends = [*self.sides, *(spec.name for spec in self.exported.outputs)]
        for _ in range(2 * LIMIT):
            start = self.random.sample(starts, self.random.randint(1, min(3, len(starts))))
            self._cut([Cut("s", start, [self.random.choice(ends)])], [])
        self._check_by_name()
        return self.legal

    def _check_by_name(self) -> None:
        """The same, where every tensor of the graph is a place to cut."""
        self.exported = replace(self.exported, by_name=True)
        graph = onnx_ir.load(self.exported.onnx).graph
        tensors = [node.outputs[0].name for node in graph if node.op_type != "Mark"]
        self.names += tensors
        for one in self._some(tensors):
            self._across([[one]])
        for two in self._some(list(itertools.combinations(tensors, 2))):
            self._across([[two[0]], [two[1]]])
            self._across([list(two)])

    def _some(self, candidates: list) -> list:
        candidates.sort()
        return self.random.sample(candidates, min(LIMIT, len(candidates)))

    def _across(self, borders: list[list[str]]) -> None:
        """Cut there; and write the same down cut by cut."""
        cutting = self._cut([], borders)
        if cutting is None:
            return
        cuts = []
        for segment in cutting.segments:
            names = [spec.name for spec in segment.outputs]
            start = [cutting.points[spec.name] for spec in segment.inputs]
            cuts.append(Cut(segment.name, start, [cutting.points[name] for name in names], names))
        passed_on = any(
            cutting.points[name] in self.passed_on for cut in cuts for name in cut.outputs or ()
        )
        if all(cut.start for cut in cuts) and not passed_on:
            assert self._cut(cuts, []) is not None

    def _cut(self, cuts: list[Cut], across: list[list[str]]) -> Partition | None:
        note(f"cuts={cuts} across={across}")
        try:
            cutting = partition(self.exported, cuts, self.folder / "cut", across=across)
        except PartitionError as error:
            assert any(name in str(error) for name in self.names), error
            assert not (across and "two tensors" in str(error)), error
            return None
        for number, inputs in enumerate(self.arrays):
            values = self._chain(cutting, inputs, self.whole[number])
            for name, value in values.items():
                key = cutting.points[name]
                assert same(value, self.whole[number][key]), name
                assert key not in self.torch[number] or close(value, self.torch[number][key]), name
        self.legal += 1
        return cutting

    def _chain(self, cutting: Partition, inputs: dict, whole: dict) -> dict:
        """The chain's tensors; what no segment makes is the whole's."""
        values = dict(inputs)
        for segment in cutting.segments:
            for spec in segment.inputs:
                values.setdefault(spec.name, whole[cutting.points[spec.name]])
            found = run_unoptimized(
                segment.onnx, {spec.name: values[spec.name] for spec in segment.inputs}
            )
            assert list(found) == [spec.name for spec in segment.outputs]
            for spec in segment.outputs:
                assert found[spec.name].dtype == spec.dtype, spec
                assert spec.accepts(found[spec.name].shape), spec
            values |= found
        return {name: value for name, value in values.items() if name in cutting.points}
