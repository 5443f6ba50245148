"""What there is to choose from: the YAML files of each group, with their first comment."""

from __future__ import annotations

from pathlib import Path

GROUPS = ("model", "backend", "partition", "recipe")


def conf_folder() -> Path:
    """The shipped configuration: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def config_choices(group: str) -> dict[str, str]:
    """The names of a group, each with what its first comment says."""
    files = sorted((conf_folder() / group).glob("*.yaml"))
    return {file.stem: _first_comment(file) for file in files}


def usage() -> str:
    """The models, backends and recipes there are, and how to name them."""
    lines = [
        "usage: python -m deploy +model=MODEL +backend=BACKEND [+partition=PARTITION]",
        "                        [key=value ...]",
        "",
    ]
    for group in GROUPS:
        lines.append(f"{group}s:")
        lines += [f"  {name:<16}{about}" for name, about in config_choices(group).items()]
        lines.append("")
    lines.append("python -m deploy.doctor says which of these backends can convert and run here.")
    return "\n".join(lines)


def _first_comment(file: Path) -> str:
    lines = file.read_text().splitlines()
    comments = (line.removeprefix("#").strip() for line in lines if line.startswith("# "))
    return next((text for text in comments if not text.startswith("@")), "")
