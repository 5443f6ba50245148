"""The formulas of handover.json, written as they are told there."""

from math import ceil, floor

import numpy as np


def sigmoid(values):
    return 1 / (1 + np.exp(-values.astype(np.float64)))


def softmax(values):
    shifted = np.exp(values - values.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def iou(box, other):
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    both = max(width, 0) * max(height, 0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    union = sum(areas) - both
    return both / union if union > 0 else 0


def suppress(boxes, scores, groups, limit, most):
    """From the best score down: one stays unless one of its group that stays overlaps it."""
    kept = []
    for index in np.argsort(-scores, kind="stable"):
        rivals = (other for other in kept if groups[other] == groups[index])
        if all(iou(boxes[index], boxes[other]) <= limit for other in rivals):
            kept.append(int(index))
        if len(kept) == most:
            break
    return np.array(kept, int)


def yolo_maps(post, maps, place):
    """``yolov3.maps``, cell by cell."""
    numbers, constants = post["parameters"], post["constants"]
    found = []
    for values, sizes, stride in zip(maps, constants["anchors"], constants["strides"], strict=True):
        rows = values[0].reshape(len(sizes), 5 + numbers["num_classes"], *values.shape[2:])
        confidence, scores = sigmoid(rows[:, 4]), sigmoid(rows[:, 5:])
        likely = confidence >= numbers["conf_thr"]
        pairs = (scores > numbers["score_thr"]) & likely[:, None]
        for y, x, anchor, label in np.argwhere(pairs.transpose(2, 3, 0, 1)):
            centre = (np.array([x, y]) + sigmoid(rows[anchor, :2, y, x])) * stride
            logarithm = np.minimum(rows[anchor, 2:4, y, x], constants["max_log_size"])
            half = np.exp(logarithm) * np.array(sizes[anchor]) / 2
            score = scores[anchor, label, y, x]
            box = np.concatenate((centre - half, centre + half))
            found.append((score, score * confidence[anchor, y, x], label, box))
    found = sorted(found, key=lambda item: -item[0])[: numbers["nms_pre"]]
    _, scores, labels, boxes = (np.array(values) for values in zip(*found, strict=True))
    kept = suppress(boxes, scores, labels, numbers["iou_thr"], numbers["max_per_img"])
    return {"boxes": place.back(boxes[kept]), "scores": scores[kept], "labels": labels[kept]}


def classify(post, tensors, place):
    """``classify`` of a model that gives logits."""
    assert post["parameters"]["activation"] == "softmax"
    scores = softmax(tensors[0].reshape(-1))
    order = np.argsort(-scores, kind="stable")[: post["parameters"]["top"]]
    return {"scores": scores, "labels": order}


def moved(boxes, deltas, numbers, limit):
    """Boxes (n, 4) by deltas (n, 4), clipped to the tensor."""
    sides = boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + deltas[:, :2] * sides
    half = sides * np.exp(np.clip(deltas[:, 2:], -limit, limit)) / 2
    edges = np.concatenate((centre - half, centre + half), axis=1)
    return np.clip(edges, 0, [numbers["width"], numbers["height"]] * 2)


def regions(boxes):
    return np.concatenate((np.zeros((len(boxes), 1)), boxes), axis=1).astype(np.float32)


def proposals(code):
    """``mask_rcnn.proposals``."""
    numbers, constants = code["parameters"], code["constants"]

    def run(tensors):
        boxes, logits, levels = [], [], []
        for level, (stride, anchors) in enumerate(
            zip(constants["strides"], constants["base_anchors"], strict=True)
        ):
            values = tensors[f"rpn_cls.{level}"][0]
            deltas = tensors[f"rpn_reg.{level}"][0].reshape(len(anchors), 4, *values.shape[1:])
            flat = values.transpose(1, 2, 0).reshape(-1)  # row, column, anchor
            best = np.argsort(-flat, kind="stable")[: numbers["nms_pre"]]
            y, x, anchor = np.unravel_index(best, (*values.shape[1:], len(anchors)))
            corner = np.stack((x, y, x, y), axis=1) * stride
            start = np.array(anchors)[anchor] + corner
            limit = constants["max_log_scale"]
            boxes.append(moved(start, deltas[anchor, :, y, x], numbers, limit))
            logits.append(flat[best])
            levels.append(np.full(len(best), level))
        boxes, logits, levels = (np.concatenate(part) for part in (boxes, logits, levels))
        large = (boxes[:, 2:] - boxes[:, :2] > numbers["min_size"]).all(axis=1)
        boxes, logits, levels = boxes[large], logits[large], levels[large]
        kept = suppress(boxes, logits, levels, numbers["iou_thr"], numbers["max_per_img"])
        return {"rois": regions(boxes[kept])}

    return run


def roi_align(code):
    """``mask_rcnn.roi_align``."""
    numbers, constants = code["parameters"], code["constants"]
    size = numbers["size"]

    def pooled(tensors, row):
        x1, y1, x2, y2 = (float(edge) for edge in row[1:])
        extent = ((x2 - x1) * (y2 - y1)) ** 0.5 / constants["finest_scale"] + 0.000001
        level = sum(limit <= extent for limit in (2, 4, 8))
        feats, stride = tensors[f"feats.{level}"][0], constants["strides"][level]
        across = weights(x1 / stride - 0.5, x2 / stride - 0.5, size, feats.shape[2])
        down = weights(y1 / stride - 0.5, y2 / stride - 0.5, size, feats.shape[1])
        return np.einsum("yr,crk,xk->cyx", down, feats, across, optimize=True)

    def run(tensors):
        rows = tensors[numbers["rois"]]
        channels = tensors["feats.0"].shape[1]
        result = np.zeros((len(rows), channels, size, size), np.float32)
        for number, row in enumerate(rows):
            result[number] = pooled(tensors, row)
        return {numbers["output"]: result}

    return run


def weights(low, high, size, cells):
    """What each cell of the map counts for each cell of the result, in one direction."""
    count = max(1, ceil((high - low) / size))
    table = np.zeros((size, cells))
    for cell in range(size):
        for sample in range(count):
            at = low + (high - low) * (cell * count + sample + 0.5) / (size * count)
            if at < -1 or at > cells or high <= low:
                continue
            at = min(max(at, 0), cells - 1)
            share = at - floor(at)
            table[cell, floor(at)] += (1 - share) / count
            table[cell, min(floor(at) + 1, cells - 1)] += share / count
    return table


def box_detections(code):
    """``mask_rcnn.detections``."""
    numbers, constants = code["parameters"], code["constants"]

    def run(tensors):
        scores = softmax(tensors["cls_score"])[:, :-1]
        region, label = np.nonzero(scores > numbers["score_thr"])
        deltas = tensors["bbox_pred"].reshape(*scores.shape, 4)[region, label]
        deltas = deltas * np.array(constants["delta_stds"])
        limit = constants["max_log_scale"]
        boxes = moved(tensors["rois"][region, 1:], deltas, numbers, limit)
        scores = scores[region, label]
        kept = suppress(boxes, scores, label, numbers["iou_thr"], numbers["max_per_img"])
        return {
            "boxes": boxes[kept].astype(np.float32),
            "scores": scores[kept],
            "labels": label[kept],
            "mask_rois": regions(boxes[kept]),
        }

    return run


def masks(post, tensors, place):
    """``mask_rcnn.masks``."""
    logits, boxes, scores, labels = tensors
    boxes = place.back(boxes)
    found = np.zeros((len(boxes), place.height, place.width), bool)
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        grid = sigmoid(logits[number, labels[number]])
        across = bilinear(x1, x2, place.width, grid.shape[1])
        down = bilinear(y1, y2, place.height, grid.shape[0])
        found[number] = down @ grid @ across.T >= post["parameters"]["threshold"]
    clipped = np.clip(boxes, 0, [place.width, place.height] * 2)
    return {"boxes": clipped, "scores": scores, "labels": labels, "masks": found}


def bilinear(low, high, pixels, cells):
    """The weight of each cell for each pixel; nothing beyond the pixels around the box."""
    pixel = np.arange(pixels)
    at = (pixel + 0.5 - low) * cells / max(high - low, 0.000001) - 0.5
    table = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells)))
    table[(pixel < floor(low) - 1) | (pixel >= ceil(high) + 1)] = 0
    return table


HOST = {
    "mask_rcnn.proposals": proposals,
    "mask_rcnn.roi_align": roi_align,
    "mask_rcnn.detections": box_detections,
}
POSTS = {"yolov3.maps": yolo_maps, "classify": classify, "mask_rcnn.masks": masks}
