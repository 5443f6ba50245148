"""The plan of a chain: its segments and host steps, its reference points, and its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backends.contract import Specs, Tensors
from deploy.export.onnx_files import OnnxFiles
from deploy.export.source import Source
from deploy.graph.exported import Exported
from deploy.graph.observed_shapes import observed_specs
from deploy.partition.host_steps import host_step_points, resolve_host_steps
from deploy.partition.segments import Partition, partition_recipe
from deploy.recipe.schema import ModelRecipe, Recipe, RecipeError
from deploy.recipe.state import state_pairs
from deploy.runtime.bundle.manifest import HostStep, StateTensor


@dataclass(frozen=True)
class ChainPlan:
    """What a recipe makes of a model, before anything is converted.

    Attributes:
        partition: the segments.
        host: the host steps between them.
        points: where the reference keeps its value of each tensor.
        state: the tensors that are carried between calls.
        exported: the graph that was cut, where there is one.
    """

    partition: Partition
    host: Sequence[HostStep]
    points: Mapping[str, str]
    state: Sequence[StateTensor]
    exported: Exported | None = None


def plan_graph(recipe: Recipe, exported: Exported, out: Path) -> ChainPlan:
    """Cut a graph as the recipe says.

    Args:
        recipe: the recipe.
        exported: the graph.
        out: the folder that gets the segments.

    Raises:
        DeployError: the graph cannot be cut so, or a host step or the state does not fit.
    """
    partition = partition_recipe(recipe, exported, out)
    plan = _plan(recipe, partition, exported.inputs, no_others=exported.by_name)
    return replace(plan, exported=exported)


def plan_files(recipe: Recipe, source: OnnxFiles, out: Path, observed: Specs = ()) -> ChainPlan:
    """Wire several files; see ``plan_graph`` and, for ``observed``, ``Exported``."""
    plan = _plan(recipe, source.partition(out, observed), source.inputs, no_others=True)
    # the reference runs the host steps too, and has a value of all their outputs
    of_host = {spec.name: spec.name for step in plan.host for spec in step.outputs}
    return replace(plan, points={**plan.points, **of_host})


def with_observed_shapes(
    plan: ChainPlan, recipe: Recipe, source: Source, values: Tensors, out: Path
) -> ChainPlan:
    """The plan, made anew where a file or the inference of shapes is wrong of its tensors.

    Args:
        plan: the plan.
        recipe: its recipe.
        source: of ONNX files; what PyTorch exports is not corrected.
        values: the reference's value of each tensor.
        out: the folder of the segments.

    Raises:
        DeployError: as of ``plan_graph``.
    """
    specs = {
        spec.name: spec
        for segment in plan.partition.segments
        for spec in (*segment.inputs, *segment.outputs)
    }
    if isinstance(source, OnnxFiles):
        observed = observed_specs(tuple(specs.values()), values, source.inputs)
        return plan_files(recipe, source, out, observed) if observed else plan
    exported = plan.exported
    if exported is None or not exported.by_name:
        return plan
    observed = observed_specs(tuple(specs.values()), values, exported.inputs)
    if not observed:
        return plan
    in_graph = (replace(spec, name=plan.points[spec.name]) for spec in observed)
    return plan_graph(recipe, replace(exported, observed=(*exported.observed, *in_graph)), out)


def _plan(recipe: Recipe, partition: Partition, inputs: Specs, *, no_others: bool) -> ChainPlan:
    hosts = recipe.partition.host
    host = resolve_host_steps(hosts, partition.segments, inputs)
    points = host_step_points(hosts, partition.reference_points, no_others=no_others)
    state = _carried_state(recipe.model, partition)
    return ChainPlan(partition, host, {**partition.points, **points}, state)


def _carried_state(model: ModelRecipe, partition: Partition) -> list[StateTensor]:
    """The state by the names of the chain.

    Raises:
        RecipeError: the chain does not take or give a tensor of it.
    """
    pairs = state_pairs(model)
    taken = {spec.name for segment in partition.segments for spec in segment.inputs}
    for name, known in (
        *((name, taken) for name in pairs),
        *((name, partition.outputs.keys()) for name in pairs.values()),
    ):
        if name not in known:
            raise RecipeError(
                f"model.state needs '{name}'",
                expected="an input or an output of the chain",
                got="a chain without it",
                do=f"Let a segment of the partition start or end at '{name}', or use cuts, which "
                "keep all inputs and outputs of the model.",
            )
    return [StateTensor(name, partition.outputs[after]) for name, after in pairs.items()]
