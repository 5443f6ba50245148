"""All pictures of a folder to a file of JSON lines; a broken picture ends nothing."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from deploy.runtime import Pipeline


def readable(paths: list[Path], read: list[Path]) -> Iterator[Image.Image]:
    """The pictures that can be decoded; their paths are appended to ``read``."""
    for path in paths:
        try:
            with Image.open(path) as picture:
                picture.load()
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            continue
        read.append(path)
        yield picture


def main(bundle: str, folder: str, target: str) -> None:
    """Run the bundle on the folder, and say how fast that was."""
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix == ".jpg")
    read: list[Path] = []
    start = time.perf_counter()
    with Pipeline.open(bundle) as pipeline, Path(target).open("w") as lines:
        for number, found in enumerate(pipeline.stream(readable(paths, read))):
            rows = found.above(0.3).to_json(pipeline.classes)
            lines.write(json.dumps({"image": str(read[number]), found.noun: rows}) + "\n")
    rate = len(read) / (time.perf_counter() - start)
    print(f"{len(read)} of {len(paths)} pictures, {rate:.1f} per second")


if __name__ == "__main__":
    main(*sys.argv[1:])
