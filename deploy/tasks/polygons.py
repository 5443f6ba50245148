"""Overlaps of convex polygons with four corners."""

from __future__ import annotations

import numpy as np

from backends.contract import Array


def quad_overlaps(quad: Array, others: Array) -> Array:
    """Intersection over union (n,) of one convex quadrilateral (4, 2) with others (n, 4, 2).

    It is exact but for rounding in float64. Corners may turn either way; a quadrilateral without an
    area overlaps nothing.

    Examples:
        >>> square = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]])
        >>> quad_overlaps(square, np.stack([square, square + [1, 0], square + 9])).round(6).tolist()
        [1.0, 0.333333, 0.0]
    """
    centre = quad.astype(np.float64).mean(axis=0)  # far from the origin, products lose digits
    first = _clockwise(quad.astype(np.float64) - centre)
    second = _clockwise(others.astype(np.float64) - centre)
    shared = np.maximum(_area(_clipped(second, first)), 0)
    union = _area(first) + _area(second) - shared
    ratio: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def _area(polygons: Array) -> Array:
    """Of polygons (..., corners, 2); positive for those that turn clockwise on a screen."""
    x, y = polygons[..., 0], polygons[..., 1]
    twice: Array = (x * np.roll(y, -1, axis=-1) - np.roll(x, -1, axis=-1) * y).sum(axis=-1)
    return twice / 2


def _clockwise(polygons: Array) -> Array:
    turned: Array = np.where(_area(polygons)[..., None, None] < 0, polygons[..., ::-1, :], polygons)
    return turned


def _clipped(polygons: Array, window: Array) -> Array:
    """Polygons (n, m, 2) cut by the sides of a clockwise window (k, 2): (n, m * 2**k, 2).

    What lies outside of a side is projected onto its line, where it has no area. No corner is
    taken away, so that all polygons keep the same number of corners. ``_area`` alone reads them.
    """
    for start, end in zip(window, np.roll(window, -1, axis=0), strict=True):
        side = end - start
        length = np.hypot(*side)
        if length > 0:
            normal = np.array((-side[1], side[0])) / length  # points inwards
            polygons = _cut(polygons, start, normal)
    return polygons


def _cut(polygons: Array, point: Array, normal: Array) -> Array:
    inside = (polygons - point) @ normal
    after = np.roll(inside, -1, axis=-1)
    drops = inside - after
    crosses = (inside < 0) != (after < 0)
    share = np.divide(inside, drops, out=np.zeros_like(inside), where=crosses)[..., None]
    crossing = polygons + share * (np.roll(polygons, -1, axis=-2) - polygons)
    kept = polygons - np.minimum(inside, 0)[..., None] * normal
    between = np.where(crosses[..., None], crossing, kept)
    cut: Array = np.empty((*polygons.shape[:-2], 2 * polygons.shape[-2], 2))
    cut[..., ::2, :], cut[..., 1::2, :] = kept, between
    return cut
