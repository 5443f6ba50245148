"""The values of a configuration of MMDeploy -> a recipe, and what has no counterpart in it.

What its keys mean is described in MMDeploy's own documentation (1.3.1, "How to write config" and
"How to get partitioned ONNX models").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import PurePosixPath
from typing import Any

from backends import registry
from backends.contract import DeployError

MISSING = "???"  # OmegaConf's word for a value that has to be given


class TranslationError(DeployError):
    """A configuration whose values do not have the types that MMDeploy gives them."""


@dataclass(frozen=True)
class ImportedRecipe:
    """A recipe from a configuration of MMDeploy.

    Attributes:
        backend: the name of the backend; empty where this project has none of that name.
        values: of the recipe, as YAML has them.
        marks: the marks that its segments name.
        remarks: a sentence for each value that is left out, or is to be completed.
    """

    backend: str
    values: Mapping[str, Any]
    marks: tuple[str, ...] = ()
    remarks: tuple[str, ...] = field(default=())


# Of MMDeploy's model_partition_cfg.py, for a partition that names its type alone.
_TYPES: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "single_stage": (
        {
            "save_file": "partition0.onnx",
            "start": "detector_forward:input",
            "end": "multiclass_nms:input",
        },
    ),
    "two_stage": (
        {
            "save_file": "partition0.onnx",
            "start": "detector_forward:input",
            "end": ["extract_feat:output", "multiclass_nms[0]:input"],
        },
        {
            "save_file": "partition1.onnx",
            "start": "roi_extractor:output",
            "end": "bbox_head_forward:output",
        },
    ),
}


def translate(config: Mapping[str, Any]) -> ImportedRecipe:
    """The recipe that a configuration corresponds to.

    Args:
        config: the values of its file, as ``read_config`` gives them.

    Raises:
        TranslationError: a value of another type than MMDeploy's.

    Examples:
        >>> onnx = {"input_names": ["input"], "input_shape": [416, 320]}
        >>> recipe = translate({"onnx_config": onnx, "backend_config": {"type": "coreml"}})
        >>> recipe.values["model"]["inputs"]
        {'input': {'shape': [1, 3, 320, 416]}}
        >>> recipe.remarks[0]
        'backend coreml: there is none of this name here; choose one with +backend='
    """
    remarks: list[str] = []
    backend, backend_values = _backend(_mapping(config, "backend_config"), remarks)
    model = _model(config, remarks)
    segments = list(_segments(_mapping(config, "partition_config"), model, remarks))
    values: dict[str, Any] = {"model": model}
    if segments:
        values["partition"] = {"segments": segments}
    if backend_values:
        values["backend"] = backend_values
    remarks += _left_out(config)
    points = [point for segment in segments for point in (*segment["start"], *segment["end"])]
    marks = dict.fromkeys(point.partition(":")[0].partition("[")[0] for point in points)
    return ImportedRecipe(backend, values, tuple(marks), tuple(remarks))


def _mapping(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise TranslationError(key, expected="a dict", got=type(value).__name__)
    return value


def _backend(config: Mapping[str, Any], remarks: list[str]) -> tuple[str, dict[str, Any]]:
    name, common = str(config.get("type", "")), _mapping(config, "common_config")
    if name not in registry.names():
        if name:
            remarks.append(
                f"backend {name}: there is none of this name here; choose one with +backend="
            )
        return "", {}
    values: dict[str, Any] = {}
    precision = str(config.get("precision", common.get("precision", ""))).lower()
    if common.get("fp16_mode") or precision == "fp16":
        values["precision"] = "fp16"
    if common.get("int8_mode") or precision == "int8":
        remarks.append("int8: not made here; quantise the model, and deploy it with its Q/DQ nodes")
    options = {option.name for option in fields(registry.options_type(name))}
    workspace = common.get("max_workspace_size")
    if isinstance(workspace, int) and workspace > 0 and "workspace_mib" in options:
        values["options"] = {"workspace_mib": max(1, workspace >> 20)}
    return name, values


def _model(config: Mapping[str, Any], remarks: list[str]) -> dict[str, Any]:
    onnx = _mapping(config, "onnx_config")
    names = onnx.get("input_names") or ["input"]
    ranges = _shape_ranges(_mapping(config, "backend_config"))
    model: dict[str, Any] = {"inputs": {}, "dynamic": {}}
    for name in map(str, names):
        shape = _static_shape(onnx.get("input_shape"))
        axes = _mapping(_mapping(onnx, "dynamic_axes"), name)
        for axis, size_name in axes.items():
            sizes = ranges.get(name, {}).get(int(axis))
            shape += [MISSING] * (int(axis) + 1 - len(shape))  # of clips of video
            if sizes is not None and len(set(sizes)) == 1:
                shape[int(axis)] = sizes[0]
            else:
                shape[int(axis)] = str(size_name)
                model["dynamic"][str(size_name)] = sizes or MISSING
                if sizes is None:
                    remarks.append(f"model.dynamic.{size_name}: write [least, usual, largest]")
        model["inputs"][name] = {"shape": shape}
        if MISSING in shape:
            remarks.append(f"model.inputs.{name}.shape: write each ??? as a number; none is fixed")
    if not model["dynamic"]:
        del model["dynamic"]
    return model


def _static_shape(size: Any) -> list[Any]:
    """The shape of a picture; MMDeploy writes its size as width and height."""
    if size is None:
        return [1, 3, MISSING, MISSING]
    if not (isinstance(size, list | tuple) and len(size) == 2):
        raise TranslationError("onnx_config.input_shape", expected="[width, height]", got=str(size))
    return [1, 3, size[1], size[0]]


def _shape_ranges(backend: Mapping[str, Any]) -> dict[str, dict[int, list[int]]]:
    """Least, usual and largest size of each axis of each input, where the backend has them."""
    ranges: dict[str, dict[int, list[int]]] = {}
    entries = backend.get("model_inputs") or ()
    for entry in [entries] if isinstance(entries, dict) else entries:
        for name, shapes in dict(entry.get("input_shapes", {})).items():
            kinds = ("min_shape", "opt_shape", "max_shape")
            if isinstance(shapes, dict) and all(kind in shapes for kind in kinds):
                columns = zip(*(shapes[kind] for kind in kinds), strict=True)
                ranges[str(name)] = {axis: list(sizes) for axis, sizes in enumerate(columns)}
    return ranges


def _segments(
    config: Mapping[str, Any], model: Mapping[str, Any], remarks: list[str]
) -> Iterator[dict[str, Any]]:
    kind = str(config.get("type", ""))
    listed = config.get("partition_cfg") or _TYPES.get(kind, ())
    if config and not listed:
        remarks.append(f"partition {kind}: it lists no segments; write partition.segments")
    for number, entry in enumerate(listed):
        name = PurePosixPath(str(entry.get("save_file", f"part{number}"))).stem
        segment = {
            "name": name,
            "start": _points(entry, "start"),
            "end": _points(entry, "end"),
        }
        if entry.get("output_names"):
            segment["outputs"] = [str(output) for output in entry["output_names"]]
        remarks += [
            f"segment {name}: where {tensor} varies in sizes that no input has, write them as its "
            "dynamic: {tensor: {axis: [least, usual, largest]}}"
            for tensor in entry.get("dynamic_axes") or ()
            if tensor not in model["inputs"]
        ]
        yield segment


def _points(entry: Mapping[str, Any], key: str) -> list[str]:
    value = entry.get(key)
    if isinstance(value, str):
        return [value]
    if not (isinstance(value, list | tuple) and value):
        raise TranslationError(
            f"partition_cfg: {key}", expected="a mark, or a list of marks", got=str(value)[:80]
        )
    return [str(point) for point in value]


_MEANINGLESS = {  # what is always so here, or has no meaning for a segment
    *("type", "export_params", "keep_initializers_as_inputs", "opset_version", "save_file"),
    *("input_names", "output_names", "input_shape", "optimize", "dynamic_axes", "verbose"),
}


def _left_out(config: Mapping[str, Any]) -> Iterator[str]:
    codebase = _mapping(config, "codebase_config")
    thresholds = _mapping(codebase, "post_processing")
    if thresholds:
        values = ", ".join(f"{key} {value}" for key, value in thresholds.items())
        yield f"post-processing ({values}): on the host here; choose model.post and its parameters"
    if config.get("calib_config"):
        yield "calib_config: there is no calibration here"
    for key in _mapping(config, "onnx_config"):
        if key not in _MEANINGLESS:
            yield f"onnx_config.{key}: nothing here corresponds to it"
