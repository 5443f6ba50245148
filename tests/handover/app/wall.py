"""What an app does not have: this project's code, and the manifest of a bundle."""

import sys
from importlib.abc import MetaPathFinder

FORBIDDEN = ("deploy", "backends", "torch", "onnx")


class Refusing(MetaPathFinder):
    """Finds no module of this project, and says so."""

    def find_spec(self, fullname, path=None, target=None):
        """Refuse a module of this project; leave every other one to the next finder."""
        if fullname.partition(".")[0] in FORBIDDEN:
            raise ImportError(f"an app has no module {fullname}")


def refuse_manifest(event, args):
    """An audit hook that lets no file with the manifest's name be opened."""
    if event == "open" and str(args[0]).endswith("manifest.json"):
        raise PermissionError("an app does not read manifest.json")


def build():
    """Put the wall up; it stays until the process ends."""
    sys.meta_path.insert(0, Refusing())
    sys.addaudithook(refuse_manifest)
