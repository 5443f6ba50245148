"""Further formulas of handover.json, each written as it is told there; one picture at a time."""

from math import ceil

import numpy as np
from steps import sigmoid, softmax, suppress

FAR = 1e9


def corners(boxes):
    half = boxes[:, 2:4] / 2
    return np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), axis=1)


def finite(values):
    return (np.abs(values) <= FAR).all(axis=1)


def best_classes(scores, numbers):
    """Anchors, labels and scores of the candidates: (anchors, classes) to three arrays."""
    if numbers.get("multi_label"):
        labels, anchors = np.nonzero(numbers["score_thr"] < scores.T)
    else:
        labels = scores.argmax(axis=1)
        anchors = np.flatnonzero(scores.max(axis=1) > numbers["score_thr"])
        labels = labels[anchors]
    values = scores[anchors, labels]
    order = np.argsort(-values, kind="stable")[: numbers["nms_pre"]]
    if len(values) <= numbers["nms_pre"]:
        order = np.arange(len(values))
    return anchors[order], labels[order], values[order]


def yolo_boxes(numbers, raw, scores, objectness):
    """``yolov3.boxes``: boxes (A, 4), class scores (A, C), objectness (A,)."""
    likely = (objectness >= numbers["conf_thr"])[:, None] & (scores > numbers["score_thr"])
    anchor, label = np.nonzero(likely)
    order = np.argsort(-scores[anchor, label], kind="stable")[: numbers["nms_pre"]]
    anchor, label = anchor[order], label[order]
    boxes = raw[anchor]
    good = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    anchor, label, boxes = anchor[good], label[good], boxes[good]
    values = scores[anchor, label] * objectness[anchor]
    kept = suppress(boxes, values, label, numbers["iou_thr"], numbers["max_per_img"])
    return boxes[kept], values[kept], label[kept]


def yolo(numbers, tensors):
    """``detect.yolo`` of a layout that is given."""
    layout = numbers["layout"]
    if layout == "end_to_end":
        return yolo_end_to_end(numbers, tensors[0][0])
    if layout == "maps":
        rows = np.concatenate([item[0].reshape(item.shape[1], -1) for item in tensors], axis=1).T
        split, objectness = 4 * numbers["bins"], None
    elif layout == "anchor_free":
        classes, given = numbers["num_classes"], tensors[0][0]
        turned = classes is not None and given.shape[0] != 4 + classes
        rows, split, objectness = given if turned else given.T, 4, None
    else:
        rows, split = tensors[0][0], 5
        objectness = rows[:, 4]
    scores, is_logits = rows[:, split:], numbers["scores"] == "logits"
    if is_logits or (numbers["scores"] is None and layout == "maps"):
        scores = sigmoid(scores)
        objectness = None if objectness is None else sigmoid(objectness)
    if objectness is not None:
        scores = scores * objectness[:, None]
    anchors, labels, values = best_classes(scores, numbers)
    boxes = decoded(numbers, rows[anchors, : max(4, split if layout == "maps" else 4)], anchors,
                    [item.shape[2:] for item in tensors])  # fmt: skip
    good = finite(boxes)
    boxes, labels, values = boxes[good], labels[good], values[good]
    groups = np.zeros_like(labels) if numbers["agnostic"] else labels
    kept = suppress(boxes, values, groups, numbers["iou_thr"], numbers["max_per_img"])
    return boxes[kept], values[kept], labels[kept]


def decoded(numbers, raw, anchors, sizes):
    """Boxes as x1, y1, x2, y2 in pixels of the input tensor."""
    layout = numbers["layout"]
    if layout in ("anchor_free", "objectness"):
        if numbers["units"] == "normalised":
            height, width = numbers["size"]
            raw = raw * np.array([width, height, width, height])
        return raw if numbers["boxes"] == "xyxy" else corners(raw)
    strides = numbers["strides"]
    if layout == "yolox":
        height, width = numbers["size"]
        sizes = [(ceil(height / stride), ceil(width / stride)) for stride in strides]
    cells = [
        (x, y, stride)
        for (rows, columns), stride in zip(sizes, strides, strict=True)
        for y in range(rows)
        for x in range(columns)
    ]
    x, y, stride = np.array(cells)[anchors].T
    if layout == "yolox":
        centre = (raw[:, :2] + np.stack((x, y), axis=1)) * stride[:, None]
        sides = np.exp(np.minimum(raw[:, 2:4], 20)) * stride[:, None]
        return corners(np.concatenate((centre, sides), axis=1))
    bins = numbers["bins"]
    distances = raw.reshape(-1, 4, bins)
    if bins > 1:
        distances = (softmax(distances) * np.arange(bins)).sum(axis=2)
    left, top, right, bottom = distances.reshape(-1, 4).T
    edges = (x + 0.5 - left, y + 0.5 - top, x + 0.5 + right, y + 0.5 + bottom)
    return np.stack(edges, axis=1) * stride[:, None]


def yolo_end_to_end(numbers, rows):
    rows = rows[np.isfinite(rows).all(axis=1) & (rows[:, 4] > numbers["score_thr"])]
    rows = rows[rows[:, 5] >= 0]
    rows = rows[np.argsort(-rows[:, 4], kind="stable")][: numbers["max_per_img"]]
    boxes = corners(rows[:, :4]) if numbers["boxes"] == "xywh" else rows[:, :4]
    return boxes, rows[:, 4], rows[:, 5].astype(int)


def detr(numbers, tensors):
    """``detect.detr``."""
    logits, boxes = tensors if tensors[1].shape[-1] == 4 else tensors[::-1]
    logits, boxes = logits[0], boxes[0]
    if numbers["activation"] == "softmax":
        scores = softmax(logits)[:, :-1]
        order = np.argsort(-scores.max(axis=1), kind="stable")
        labels, values = scores.argmax(axis=1)[order], scores.max(axis=1)[order]
    else:
        most = numbers["num_select"] or len(logits)
        flat = np.argsort(-logits.ravel(), kind="stable")[:most]
        order, labels = np.divmod(flat, logits.shape[1])
        values = sigmoid(logits.ravel()[flat])
    good = values > numbers["score_thr"]
    height, width = numbers["size"]
    scaled = corners(boxes[order] * np.array([width, height, width, height]))
    return scaled[good], values[good], labels[good]


def extras(numbers, tensor, extra):
    """Boxes, scores, labels and what follows the classes, before NMS: of an anchor-free head."""
    rows = tensor[0].T
    scores = rows[:, 4 : rows.shape[1] - extra]
    scores = sigmoid(scores) if numbers["scores"] == "logits" else scores
    anchors, labels, values = best_classes(scores, numbers)
    return rows[anchors, :4], values, labels, rows[anchors, rows.shape[1] - extra :]


def pose(numbers, tensor):
    """``pose.yolo``."""
    count = 17 if numbers["keypoints"] is None else numbers["keypoints"]
    raw, values, labels, points = extras(numbers, tensor, count * numbers["dims"])
    boxes = corners(raw)
    kept = suppress(boxes, values, labels, numbers["iou_thr"], numbers["max_per_img"])
    points = points[kept].reshape(len(kept), count, numbers["dims"])
    if numbers["dims"] == 2:
        points = np.concatenate((points, np.ones((len(kept), count, 1))), axis=2)
    return boxes[kept], values[kept], labels[kept], points


def rotated(numbers, tensor):
    """``obb.yolo``."""
    raw, values, labels, angles = extras(numbers, tensor, 1)
    order = np.argsort(-values, kind="stable")
    boxes, values, labels = np.column_stack((raw, angles))[order], values[order], labels[order]
    free = [
        not any(
            labels[other] == labels[index]
            and gaussian_overlap(boxes[index], boxes[other]) > numbers["iou_thr"]
            for other in range(index)
        )
        for index in range(len(boxes))
    ]
    kept = np.flatnonzero(free)[: numbers["max_per_img"]]
    return boxes[kept], values[kept], labels[kept]


def gaussian_overlap(first, second):
    e = 1e-7
    (a1, b1, c1), (a2, b2, c2) = covariance(first), covariance(second)
    a, b, k = a1 + a2, b1 + b2, c1 + c2
    dx, dy = first[0] - second[0], first[1] - second[1]
    d = a * b - k * k
    d1 = (a * dy**2 + b * dx**2 - 2 * k * dx * dy) / (d + e) / 4
    own = max(a1 * b1 - c1 * c1, 0) * max(a2 * b2 - c2 * c2, 0)
    d2 = np.log(d / (4 * np.sqrt(own) + e) + e) / 2
    return 1 - np.sqrt(1 - np.exp(-np.clip(d1 + d2, e, 100)) + e)


def covariance(box):
    width, height, t = abs(box[2]), abs(box[3]), float(box[4])
    w, h = width**2 / 12, height**2 / 12
    return (
        w * np.cos(t) ** 2 + h * np.sin(t) ** 2,
        w * np.sin(t) ** 2 + h * np.cos(t) ** 2,
        (w - h) * np.cos(t) * np.sin(t),
    )


def in_map(place, tensor, cells):
    """Where each column and each row of the picture lies in a map (rows, columns)."""
    x = (np.arange(place.width) + 0.5) * place.scaled_width / place.width + place.left
    y = (np.arange(place.height) + 0.5) * place.scaled_height / place.height + place.top
    return x * cells[1] / tensor[1], y * cells[0] / tensor[0]


def linear(values, x, y):
    """A map (rows, columns) at these columns and rows."""
    rows, columns = values.shape
    x, y = np.clip(x - 0.5, 0, columns - 1), np.clip(y - 0.5, 0, rows - 1)
    low_x, low_y = np.floor(x).astype(int), np.floor(y).astype(int)
    high_x, high_y = np.minimum(low_x + 1, columns - 1), np.minimum(low_y + 1, rows - 1)
    part_x, part_y = x - low_x, (y - low_y)[:, None]
    upper = values[low_y][:, low_x] * (1 - part_x) + values[low_y][:, high_x] * part_x
    lower = values[high_y][:, low_x] * (1 - part_x) + values[high_y][:, high_x] * part_x
    return upper * (1 - part_y) + lower * part_y


def semantic(numbers, scores, place, tensor):
    """``segment.semantic`` of scores (1, C, h, w); ``tensor`` is the input's height and width."""
    x, y = in_map(place, tensor, scores.shape[2:])
    maps = np.stack([linear(values, x, y) for values in scores[0]])
    least = numbers["threshold"]
    if numbers["scores"] == "logits":
        least = np.log(least / (1 - least))
    labels = maps[0] >= least if len(maps) == 1 else maps.argmax(axis=0)
    labels = labels.astype(int)
    x, y = in_map(place, tensor, tensor)
    labels[(y < 0) | (y >= tensor[0])] = 65535
    labels[:, (x < 0) | (x >= tensor[1])] = 65535
    return labels


def prototype_masks(numbers, rows, prototypes, place, tensor):
    """``segment.yolo``: boxes and masks in the picture."""
    raw, values, labels, shares = extras(numbers, rows, prototypes.shape[1])
    boxes = corners(raw)
    kept = suppress(boxes, values, labels, numbers["iou_thr"], numbers["max_per_img"])
    boxes = np.clip(place.back(boxes[kept]), 0, [place.width, place.height] * 2)
    x, y = in_map(place, tensor, prototypes.shape[2:])
    inside_x, inside_y = (
        (at >= 0) & (at < side)
        for at, side in zip(in_map(place, tensor, tensor), tensor[::-1], strict=True)
    )
    masks = np.zeros((len(kept), place.height, place.width), bool)
    for number, (box, share) in enumerate(zip(boxes, shares[kept], strict=True)):
        x1, y1, x2, y2 = (ceil(edge) for edge in box)
        columns, lines = np.arange(place.width), np.arange(place.height)
        mask = linear(np.tensordot(share, prototypes[0], 1), x, y) > 0
        mask &= ((columns >= x1) & (columns < x2) & inside_x)[None]
        masks[number] = mask & ((lines >= y1) & (lines < y2) & inside_y)[:, None]
    return boxes, values[kept], labels[kept], masks


def embed(numbers, tensor):
    """``embed``."""
    vector = tensor.reshape(-1)
    length = np.linalg.norm(vector)
    return vector / length if numbers["normalise"] and length else vector


def recognise(numbers, tensor, classes):
    """``text.recognise``: the text, and the score of each character."""
    steps = tensor[0] if numbers["layout"] == "NTC" else tensor[:, 0]
    steps = softmax(steps) if numbers["scores"] == "logits" else steps
    count = steps.shape[1]
    blank, best = numbers["blank"] % count, steps.argmax(axis=1)
    text, scores = "", []
    for step, label in enumerate(best):
        if label == blank or (step and best[step - 1] == label):
            continue
        place = label if len(classes) == count or label < blank else label - 1
        text += classes[place] if place < len(classes) else " "
        scores.append(steps[step, label])
    return text, scores


def tokens(numbers, tensor, classes):
    """``tokens`` of logits (1, T, V): the text."""
    ids = tensor[0].argmax(axis=1).tolist()
    if numbers["end"] in ids:
        ids = ids[: ids.index(numbers["end"])]
    words = [classes[token] for token in ids if token not in numbers["ignore"]]
    join = numbers["join"]
    if join == "wordpiece":
        return " ".join(words).replace(" ##", "")
    if join == "sentencepiece":
        return "".join(words).replace("\u2581", " ").strip()
    return (" " if join == "space" else "").join(words)


def greedy(numbers, decoder, inputs):
    """``seq2seq.greedy``."""
    rows, _, width = inputs["memory"].shape
    written = [np.full(rows, numbers["start"])]
    past, ended = np.zeros((1, rows, width), np.float32), np.zeros(rows, bool)
    while len(written) <= numbers["steps"] and not ended.all():
        outputs = decoder({**inputs, "token": written[-1][:, None], "past": past})
        past = np.concatenate((past, outputs["fresh"]))
        token, step = outputs["logits"].argmax(axis=1), len(written)
        if step == 1 and numbers["first"] is not None:
            token[:] = numbers["first"]
        if step == numbers["steps"] and numbers["last"] is not None:
            token[:] = numbers["last"]
        written.append(np.where(ended, numbers["pad"], token))
        ended |= token == numbers["end"]
    return np.stack(written, axis=1)


def characters_of(text):
    return list(text.strip())


def front_end(numbers, classes, units, text, length):
    """``words`` and ``characters``: the tokens of a text, and their mask."""
    words = numbers["vocabulary"] or classes
    text = text.lower() if numbers["lower"] else text
    ids = [words.index(unit) if unit in words else numbers["unknown"] for unit in units(text)]
    start, end = ([] if numbers[key] is None else [numbers[key]] for key in ("start", "end"))
    ids = [*start, *ids, *end]
    padding = length - len(ids)
    return {
        numbers["ids"]: np.array([ids + [numbers["pad"]] * padding]),
        numbers["mask"]: np.array([[1] * len(ids) + [0] * padding]),
    }
