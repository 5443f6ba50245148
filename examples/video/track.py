"""Gives each object of a video a number that it keeps, with supervision's trackers."""

from itertools import tee

import numpy as np
import supervision as sv
from trackers import ByteTrackTracker

from deploy.runtime import Detections, Pipeline, read_inputs


def to_supervision(found: Detections) -> sv.Detections:
    """Our detections as those of supervision, which also draws and counts them."""
    masks = np.stack(list(found.masks)) if found.masks else None
    return sv.Detections(found.boxes, masks, found.scores, found.labels)


def main() -> None:
    """Print the classes and numbers in each frame."""
    tracker = ByteTrackTracker(frame_rate=25)
    with Pipeline.open("../digits") as pipeline:
        items, again = tee(read_inputs("clip.mp4"))
        for item, found in zip(items, pipeline.stream(item.picture for item in again), strict=True):
            assert isinstance(found, Detections)
            tracked = tracker.update(to_supervision(found.above(0.5)))
            names = [pipeline.classes[label] for label in tracked.class_id]
            print(
                item,
                *(
                    f"{name}#{number}"
                    for name, number in zip(names, tracked.tracker_id, strict=True)
                ),
            )


if __name__ == "__main__":
    main()
