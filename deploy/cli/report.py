"""``report BUNDLE``: the page of a run, written again from its data, and opened."""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path

from deploy.recipe.output_paths import work_folder
from deploy.recipe.schema import RecipeError

_EXAMPLE = "example: backend-chain report bundles/yolov3 --open"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    parser.epilog = _EXAMPLE
    parser.add_argument(
        "bundle", type=Path, metavar="BUNDLE", help="a bundle whose work folder lies beside it"
    )
    parser.add_argument("--open", action="store_true", help="show the page in a browser")


def run(arguments: argparse.Namespace) -> bool:
    """Write the page and print its path.

    Raises:
        RecipeError: the bundle has no report.
        DeployError: the report cannot be read or written.
    """
    from deploy.report.page import read_report, write_report

    work = work_folder(arguments.bundle)
    report = read_report(work)
    if report is None:
        raise RecipeError(
            f"report of bundle '{arguments.bundle}'",
            expected=f"its data in '{work}'",
            got="none",
            do="Run the job of the bundle again; it leaves its report there.",
        )
    page = write_report(work, report)
    print(f"report: {page}")
    if arguments.open:
        webbrowser.open(page.absolute().as_uri())
    return True
