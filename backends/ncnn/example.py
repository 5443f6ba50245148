"""C++ that loads a net and calls it once, with the values of one artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json import dumps
from math import prod

from backends.handover import EngineTensor

_HEAD = """
#include <cstring>
#include <string>
#include "net.h"

static void copy_in(const float* from, ncnn::Mat to)
{
    const size_t plane = (size_t)to.w * to.h * to.d;
    for (int q = 0; q < to.c; q++)
        memcpy((float*)to.channel(q), from + q * plane, plane * sizeof(float));
}

static void copy_out(const ncnn::Mat& from, float* to)
{
    const size_t plane = (size_t)from.w * from.h * from.d;
    for (int q = 0; q < from.c; q++)
        memcpy(to + q * plane, (const float*)from.channel(q), plane * sizeof(float));
}
"""


def example(
    param: str,
    weights: str,
    settings: Mapping[str, object],
    threads: int,
    gpu: int | None,
    inputs: Sequence[EngineTensor],
    outputs: Sequence[EngineTensor],
) -> tuple[str, ...]:
    """The lines of a file with two functions, ``load`` and ``run``.

    Args:
        param: the file of the layers, relative to the bundle.
        weights: the file of the weights, likewise.
        settings: of ``Net::opt``.
        threads: for a call; 0 leaves the number to the engine.
        gpu: the number of the GPU that the net runs on; None for the CPU.
        inputs: of the net.
        outputs: likewise.
    """
    return (*_HEAD.strip().splitlines(), "", *_load(param, weights, settings, threads, gpu), "",
            *_run(inputs, outputs))  # fmt: skip


def _load(
    param: str, weights: str, settings: Mapping[str, object], threads: int, gpu: int | None
) -> list[str]:
    values = {**settings, **({"num_threads": threads} if threads else {})}
    return [
        "int load(ncnn::Net& net, const std::string& bundle)",
        "{",
        *(f"    net.opt.{name} = {dumps(value)};" for name, value in values.items()),
        *([] if gpu is None else [f"    net.set_vulkan_device({gpu});"]),
        f"    if (net.load_param((bundle + {dumps('/' + param)}).c_str()) != 0)",
        "        return -1;",
        f"    return net.load_model((bundle + {dumps('/' + weights)}).c_str());",
        "}",
    ]


def _run(inputs: Sequence[EngineTensor], outputs: Sequence[EngineTensor]) -> list[str]:
    tensors = [*inputs, *outputs]
    arguments = [f"const float* {item.name}" for item in inputs]
    arguments += [f"float* {item.name}" for item in outputs]
    return [
        *(f"// {item.name}: {dumps(item.tensor)}, float32 {list(item.shape)}" for item in tensors),
        f"int run(const ncnn::Net& net, {', '.join(arguments)})",
        "{",
        "    ncnn::Extractor extractor = net.create_extractor();",
        *(line for item in inputs for line in _give(item)),
        *(line for item in outputs for line in _take(item)),
        "    return 0;",
        "}",
    ]


def _give(item: EngineTensor) -> list[str]:
    mat, batch = f"{item.name}_mat", item.layout.get("n", 1)
    sides = ", ".join(str(item.layout[side]) for side in "whdc" if side in item.layout)
    more = f", (size_t)4u, 1, {batch}" if batch > 1 else ""
    return [
        f"    ncnn::Mat {mat}({sides}{more});",
        *_for_each_row(item, f"copy_in({item.name}{{row}}, {mat}{{batch}});"),
        f'    if (extractor.input("{item.name}", {mat}) != 0)',
        "        return -1;",
    ]


def _take(item: EngineTensor) -> list[str]:
    mat = f"{item.name}_mat"
    return [
        f"    ncnn::Mat {mat};",
        f'    if (extractor.extract("{item.name}", {mat}) != 0)',
        "        return -1;",
        *_for_each_row(item, f"copy_out({mat}{{batch}}, {item.name}{{row}});"),
    ]


def _for_each_row(item: EngineTensor, call: str) -> list[str]:
    """A call, or one for each row of a batch of several."""
    batch = item.layout.get("n", 1)
    if batch == 1:
        return [f"    {call.format(row='', batch='')}"]
    row = f" + (size_t)b * {prod(item.shape) // batch}"
    return [
        *(
            [f"    // axis {item.batch_axis} of {item.name} comes first here"]
            if item.batch_axis
            else []
        ),
        f"    for (int b = 0; b < {batch}; b++)",
        f"        {call.format(row=row, batch='.batch(b)')}",
    ]
