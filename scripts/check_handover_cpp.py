"""Compiles the C++ of a bundle's ``handover.json`` with ncnn, and runs it on the bundle's sample.

``python scripts/check_handover_cpp.py BUNDLE NCNN``. NCNN is where ncnn was installed from its
sources (``cmake -DNCNN_VULKAN=OFF ..; make install``). Every engine step is compiled; those whose
inputs are in the sample are run too. Exits with 1 where an output is beyond its bound.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

_READ = """
#include <cmath>
#include <cstdio>
#include <vector>

inline std::vector<float> read_values(const std::string& path, long offset, size_t size)
{
    std::vector<float> values(size / sizeof(float));
    FILE* stream = fopen(path.c_str(), "rb");
    fseek(stream, offset, SEEK_SET);
    values.resize(fread(values.data(), sizeof(float), values.size(), stream));
    fclose(stream);
    return values;
}

inline int compare(const char* name, const std::vector<float>& want, const std::vector<float>& got,
                   float bound)
{
    float error = 0.f, largest = 0.f;
    for (size_t i = 0; i < want.size(); i++)
    {
        error = fmaxf(error, fabsf(want[i] - got[i]));
        largest = fmaxf(largest, fabsf(want[i]));
    }
    printf("    %-24s max_rel %.1e of %zu\\n", name, error / largest, want.size());
    return !(error <= bound * largest);
}
"""


def program(bundle: Path, facts: Mapping[str, Any], engine: Mapping[str, Any]) -> str:
    """The source of a program that loads a net and, where it can, runs the sample."""
    arrays = {item["name"]: item for item in facts["sample"]["arrays"]}
    given = [arrays.get(f"input/{item['tensor']}") for item in engine["inputs"]]
    lines = [*engine["example"], _READ, "int main()", "{", "    ncnn::Net net;"]
    lines += [f"    const std::string bundle = {json.dumps(str(bundle))};"]
    lines += ["    if (load(net, bundle) != 0)", "        return 1;"]
    if all(given) and engine["calls"] == "once":
        lines += _run(facts, engine, arrays)
    else:
        lines += ["    return 0;"]
    return "\n".join([*lines, "}", ""])


def _run(
    facts: Mapping[str, Any], engine: Mapping[str, Any], arrays: Mapping[str, Any]
) -> list[str]:
    def stored(name: str) -> str:
        item = arrays[name]
        return f'read_values(bundle + "/{item["file"]}", {item["offset"]}, {item["size"]})'

    lines, names = [], []
    for item in engine["inputs"]:
        lines.append(
            f"    std::vector<float> {item['name']} = {stored('input/' + item['tensor'])};"
        )
        names.append(f"{item['name']}.data()")
    for item in engine["outputs"]:
        lines.append(f"    std::vector<float> {item['name']}({prod(item['shape'])});")
        names.append(f"{item['name']}.data()")
    lines += [
        f"    if (run(net, {', '.join(names)}) != 0)",
        "        return 1;",
        "    int bad = 0;",
    ]
    for item in engine["outputs"]:
        if f"output/{item['tensor']}" in arrays:
            bound = facts["agreement"]["tensors"][item["tensor"]]["max_rel"]
            wanted = stored(f"output/{item['tensor']}")
            name = json.dumps(item["tensor"])
            lines.append(f"    bad |= compare({name}, {wanted}, {item['name']}, {bound}f);")
    return [*lines, "    return bad;"]


def compiled_and_run(source: str, ncnn: Path) -> bool:
    """Whether a program compiles without a warning, and succeeds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "app.cpp")
        path.write_text(source)
        flags = ["-std=c++11", "-O1", "-Wall", "-Wextra", "-Werror", "-fopenmp"]
        paths = [f"-I{ncnn}/include/ncnn", f"-L{ncnn}/lib", "-lncnn", "-lpthread"]
        command = ["g++", *flags, str(path), *paths, "-o", f"{folder}/app"]
        return all(subprocess.run(words, check=False).returncode == 0
                   for words in (command, [f"{folder}/app"]))  # fmt: skip


def main(bundle: Path, ncnn: Path) -> int:
    """Check every engine step; the exit status."""
    facts = json.loads((bundle / "handover.json").read_text())
    good = True
    for step in facts["steps"]:
        for choice in step["engines"][:1]:
            if choice["engine"] is not None:
                print(f"{step['name']} in {choice['engine']['library']}", flush=True)
                good &= compiled_and_run(program(bundle, facts, choice["engine"]), ncnn)
    print("good" if good else "BAD")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
