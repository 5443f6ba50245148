"""The plan of a chain: its segments and host steps, its reference points, and its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backends.contract import Specs
from deploy.export.onnx_files import OnnxFiles
from deploy.graph.exported import Exported
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
    """

    partition: Partition
    host: Sequence[HostStep]
    points: Mapping[str, str]
    state: Sequence[StateTensor]


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
    return _plan(recipe, partition, exported.inputs, no_others=exported.by_name)


def plan_files(recipe: Recipe, source: OnnxFiles, out: Path) -> ChainPlan:
    """Wire several files; see ``plan_graph``."""
    plan = _plan(recipe, source.partition(out), source.inputs, no_others=True)
    # the reference runs the host steps too, and has a value of all their outputs
    of_host = {spec.name: spec.name for step in plan.host for spec in step.outputs}
    return replace(plan, points={**plan.points, **of_host})


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
