"""Overlaps of convex polygons with four corners."""

from __future__ import annotations

import numpy as np

from backends.contract import Array

_ROUNDING = 1e-9  # of the length of a side, within which a point lies on it


def quad_overlaps(quad: Array, others: Array) -> Array:
    """Intersection over union (n,) of one convex quadrilateral (4, 2) with others (n, 4, 2).

    The intersection is the convex polygon of those corners of either that the other one holds, and
    of the points where their sides cross. It is computed in float64. Corners may turn either way; a
    quadrilateral without an area overlaps nothing.

    Examples:
        >>> square = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]])
        >>> quad_overlaps(square, np.stack([square, square + [1, 0], square + 9])).round(6).tolist()
        [1.0, 0.333333, 0.0]
    """
    centre = quad.astype(np.float64).mean(axis=0)  # far from the origin, products lose digits
    first = _clockwise(quad.astype(np.float64) - centre)[None]
    second = _clockwise(others.astype(np.float64) - centre)
    crossings, is_crossing = _crossings(first, second)
    corners = np.broadcast_to(first, second.shape)
    points = np.concatenate((corners, second, crossings), axis=1)
    holds = (_holds(second, corners), _holds(first, second), is_crossing)
    shared = _area_around(points, np.concatenate(holds, axis=1))
    union = _area(first) + _area(second) - shared
    ratio: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio.clip(0, 1)


def _cross(first: Array, second: Array) -> Array:
    product: Array = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
    return product


def _area(polygons: Array) -> Array:
    """Of polygons (..., corners, 2); positive for those that turn clockwise on a screen."""
    area: Array = _cross(polygons, np.roll(polygons, -1, axis=-2)).sum(axis=-1) / 2
    return area


def _clockwise(polygons: Array) -> Array:
    turned: Array = np.where(_area(polygons)[..., None, None] < 0, polygons[..., ::-1, :], polygons)
    return turned


def _holds(quads: Array, points: Array) -> Array:
    """Which points (n, k, 2) clockwise quadrilaterals (n, 4, 2) have inside or on a side."""
    sides = np.roll(quads, -1, axis=1) - quads
    offsets = points[:, :, None] - quads[:, None]
    slack = _ROUNDING * (sides**2).sum(axis=-1)
    inside: Array = (_cross(sides[:, None], offsets) >= -slack[:, None]).all(axis=2)
    return inside


def _crossings(first: Array, second: Array) -> tuple[Array, Array]:
    """Where the sides of quadrilaterals cross: points (n, 16, 2), and which of them do."""
    starts, others = first[:, :, None], second[:, None]
    along = (np.roll(first, -1, axis=1) - first)[:, :, None]
    other_along = (np.roll(second, -1, axis=1) - second)[:, None]
    slope, gap = _cross(along, other_along), others - starts
    parallel = slope == 0
    divisor = np.where(parallel, 1.0, slope)
    share, other_share = _cross(gap, other_along) / divisor, _cross(gap, along) / divisor
    inside = (share >= 0) & (share <= 1) & (other_share >= 0) & (other_share <= 1) & ~parallel
    points = starts + np.where(inside, share, 0.0)[..., None] * along
    return points.reshape(len(second), 16, 2), inside.reshape(len(second), 16)


def _area_around(points: Array, good: Array) -> Array:
    """The area (n,) of the convex polygons whose corners are the good ones of (n, k, 2), any order.

    The others are put onto a good one, where they enclose nothing.
    """
    count = np.maximum(good.sum(axis=1), 1)[:, None]
    middle = np.where(good[..., None], points, 0.0).sum(axis=1) / count
    around = np.where(good[..., None], points - middle[:, None], 0.0)
    angles = np.where(good, np.arctan2(around[..., 1], around[..., 0]), -np.inf)
    order = np.argsort(angles, axis=1)
    ordered = np.take_along_axis(around, order[..., None], axis=1)
    last = ordered[:, -1:]  # good, unless none is
    bad = ~np.take_along_axis(good, order, axis=1)
    area: Array = np.maximum(_area(np.where(bad[..., None], last, ordered)), 0.0)
    return area
