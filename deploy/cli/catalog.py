"""What there is to choose from: the YAML files of each group, with their first comment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deploy.recipe.shipped import conf_folder

CONFIG = "deploy"  # the name of the shipped configuration
GROUPS = ("model", "backend", "partition", "pre", "device", "recipe")
_HEADINGS = {"pre": "pre-processing"}
KEYS: Mapping[str, str] = {
    "bundle=FOLDER": "where the bundle goes (default: bundles/<model>-<backend>)",
    "backend.precision=fp16": "or bf16: what half precision cannot hold stays in fp32",
    "backend.options.threads=2": "an option of the backend",
    "backend.build=device": "carry the segments, and build the engines on the device",
    "backend@chain.SEGMENT=BACKEND": "a backend for one segment",
    "partition.cuts=[MARK,...]": "cut the whole model at these marks or tensors",
    "model.dynamic={batch: [1, 4, 16]}": "least, usual and largest size of an axis",
    "verify.eval=true": "scores of the chain on a data set beside PyTorch's",
    "bench.runs=0": "leave the latency out",
    "device.tune=true": "keep the fastest engines and threads on the device",
    "cache=off": "keep nothing for later runs; or a folder",
}
OPTIONS: Mapping[str, str] = {
    "-m": "a sweep: every combination of values that are separated by commas",
    "--config-dir DIR": "a folder with configuration of your own",
    "--cfg job": "print the configuration, and do nothing",
    "--hydra-help": "options of Hydra",
}


def config_choices(group: str) -> dict[str, str]:
    """The names of a group, each with what its first comment says."""
    files = sorted((conf_folder() / group).glob("*.yaml"))
    return {file.stem: _first_comment(file) for file in files}


def usage() -> str:
    """How to write the main job: the choices of each group, and the keys used most."""
    lines = [
        "usage: backend-chain deploy model=MODEL backend=BACKEND [partition=PARTITION]",
        "                            [pre=PRE] [device=DEVICE] [key=value ...]",
        "",
    ]
    for group in GROUPS:
        lines.append(f"{_HEADINGS.get(group, f'{group}s')}:")
        lines += [f"  {name:<18}{about}" for name, about in config_choices(group).items()]
        lines.append("")
    lines += ["keys:", *(f"  {key:<34}{text}" for key, text in KEYS.items()), ""]
    lines += ["options:", *(f"  {option:<34}{text}" for option, text in OPTIONS.items()), ""]
    lines.append("backend-chain doctor says which of these backends can convert and run here.")
    return "\n".join(lines)


def _first_comment(file: Path) -> str:
    lines = file.read_text().splitlines()
    comments = (line.removeprefix("#").strip() for line in lines if line.startswith("# "))
    return next((text for text in comments if not text.startswith("@")), "")
