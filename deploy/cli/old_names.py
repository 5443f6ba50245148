"""Names of modules that users import or type, as they were before 0.2: each warns, and goes in 0.3.

``python -m deploy.inspect`` runs ``python -m deploy inspect``; an import of a module that has moved
gives the names of the new one.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, cast

from backends.terminal import program_output

if TYPE_CHECKING:
    from importlib.abc import Loader

COMMANDS = ("blame", "bundle", "cache", "doctor", "evaluate", "inspect")
MODULES: Mapping[str, str] = {
    "deploy.runtime.archive": "deploy.runtime.bundle.archive",
    "deploy.runtime.calls": "deploy.runtime.execution.host_steps",
    "deploy.runtime.chain": "deploy.runtime.execution.chain",
    "deploy.runtime.coco": "deploy.runtime.accuracy.coco",
    "deploy.runtime.detections": "deploy.runtime.results.detections",
    "deploy.runtime.draw": "deploy.runtime.results.draw",
    "deploy.runtime.host": "deploy.runtime.execution.host_steps",
    "deploy.runtime.host_steps": "deploy.runtime.execution.host_steps",
    "deploy.runtime.image": "deploy.runtime.vision.image",
    "deploy.runtime.letterbox": "deploy.runtime.vision.preprocess",
    "deploy.runtime.manifest": "deploy.runtime.bundle.manifest",
    "deploy.runtime.masks": "deploy.runtime.results.masks",
    "deploy.runtime.matching": "deploy.runtime.results.matching",
    "deploy.runtime.nms": "deploy.runtime.vision.nms",
    "deploy.runtime.post": "deploy.runtime.execution.post_steps",
    "deploy.runtime.posts": "deploy.runtime.execution.post_steps",
    "deploy.runtime.sample": "deploy.runtime.bundle.sample",
    "deploy.runtime.signing": "deploy.runtime.bundle.signing",
    "deploy.runtime.streaming": "deploy.runtime.execution.streaming",
}
_NAMES: Mapping[str, Mapping[str, str]] = {  # that were renamed too
    "deploy.runtime.calls": {"Call": "SegmentCall"},
    "deploy.runtime.host": {"Segment": "SegmentFunction"},
}


class OldNames:
    """Finds a module under its old name; a finder and loader as ``importlib.abc`` describes them.

    Their base classes are left out: importing that module was half of importing this package.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for the names in the tables above, and for no other."""
        is_command = name.partition("deploy.")[2] in COMMANDS and name != "deploy.bundle"
        return ModuleSpec(name, cast("Loader", self)) if is_command or name in MODULES else None

    def create_module(self, spec: ModuleSpec) -> None:
        """None: a plain module."""

    def exec_module(self, module: ModuleType) -> None:
        """Let the module have the names of the one that took its place."""
        new = MODULES.get(module.__name__, "")
        if not new:
            raise ImportError(f"{module.__name__} is a command: python -m {module.__name__}")
        message = f"{module.__name__} is now {new}; the old name goes in 0.3"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        current = vars(importlib.import_module(new))
        names = {name: name for name in current if not name.startswith("__")}
        names |= _NAMES.get(module.__name__, {})
        vars(module).update({old: current[name] for old, name in names.items()})

    def get_code(self, name: str) -> CodeType:
        """What ``python -m`` runs."""
        source = f"import deploy.cli.old_names as old\nold.run_renamed_command({name!r})"
        return compile(source, name, "exec")


@program_output()
def run_renamed_command(module: str) -> None:
    """Run the command that had a module of its own, with the words of this process."""
    command = module.rpartition(".")[2]
    print(
        f"warning: python -m {module} is now: python -m deploy {command} (or backend-chain "
        f"{command}); the old form goes in 0.3",
        file=sys.stderr,
    )
    from deploy.cli.main import put_working_directory_last, run_command

    put_working_directory_last()
    sys.exit(run_command(command, sys.argv[1:]))


def install() -> None:
    """Have the old names found, after all modules that there are."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.append(OldNames())
