"""How a run judges agreement: the tolerances of its tensors, and what its samples can show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from backends.acceptance import TOLERANCES, AcceptanceRule, Tolerance, by_floor
from backends.contract import Segment, Tensors
from backends.error_metrics import compare
from backends.onnx.quantised import is_quantised
from deploy.recipe.schema import RecipeError, VerifyRecipe
from deploy.recipe.tolerances import check_tolerances, recipe_rule

HARDLY_MOVES = 10 * TOLERANCES["fp32"].max_rel
"""The change of an output between two samples, relative to its largest value, that is too small.

An engine that ignores its inputs would then be off by no more than ten tolerances.
"""


def acceptance_rule(
    recipe: VerifyRecipe,
    segments: Sequence[Segment],
    floors: Mapping[str, Tolerance],
    names: Tensors,
) -> AcceptanceRule:
    """The rule of a run: of its recipe, with what was measured of the reference.

    Args:
        recipe: with its own tolerances.
        segments: in the order of the chain.
        floors: the noise floor of each tensor; those that change no tolerance are left out.
        names: the tensors of the chain.

    Raises:
        RecipeError: a tolerance of a tensor that the chain does not have.
    """
    rule = recipe_rule(recipe)
    check_tolerances(rule, [*names])
    return replace(rule, floors=large_floors(floors), quantised=quantised_tensors(segments))


def large_floors(floors: Mapping[str, Tolerance]) -> dict[str, Tolerance]:
    """The noise floors that change a tolerance."""
    least = TOLERANCES["fp32"]
    return {
        name: floor for name, floor in floors.items() if least.or_looser(by_floor(floor)) != least
    }


def check_reference(values: Tensors, name: str) -> None:
    """Refuse a sample of which the reference itself gives no numbers.

    Raises:
        RecipeError: a value is a NaN, which agrees with nothing.
    """
    for tensor, value in values.items():
        if value.dtype.kind in "fc" and np.isnan(value).any():
            raise RecipeError(
                f"{name} gives NaN at '{tensor}' for the sample",
                expected="numbers to compare with",
                got=f"{np.isnan(value).sum()} of {value.size} elements",
                do="Pass other samples: model.samples=FILE.npz, or model.inputs.NAME.range.",
            )


def quantised_tensors(segments: Sequence[Segment]) -> frozenset[str]:
    """The outputs of segments with quantised operators, and of those that follow them."""
    found: set[str] = set()
    for segment in segments:
        follows = any(spec.name in found for spec in segment.inputs)
        if follows or is_quantised(segment.onnx):
            found |= {spec.name for spec in segment.outputs}
    return frozenset(found)


def unmoved_outputs(
    first: Tensors, others: Sequence[Tensors], outputs: Iterable[str]
) -> dict[str, float]:
    """The floating-point outputs that two samples hardly change, and by how much.

    Args:
        first: the reference's values for a sample.
        others: for others; of these the first counts, and without one there is no answer.
        outputs: the names of the outputs.
    """
    pairs = {
        name: (first[name], second[name])
        for second in others[:1]
        for name in outputs
        if name in first and name in second and first[name].dtype.kind == "f"
    }
    moves = {
        name: compare(name, one, other).max_rel
        for name, (one, other) in pairs.items()
        if one.shape == other.shape and one.size and np.isfinite(other).all()
    }
    return {name: change for name, change in moves.items() if change < HARDLY_MOVES}
