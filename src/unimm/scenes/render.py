"""Draw a scene at any resolution, antialiased by supersampling each item's own box."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from unimm.scenes.world import COLOURS, Scene

SUPERSAMPLING = 4


def shape_mask(shape: str, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Membership of points (u, v), coordinates from the centre in units of the half-size, v pointing down."""
    return _MASKS[shape](u, v)


def _star(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    sector = 2 * np.pi / 5
    angle = np.mod(np.arctan2(u, -v) + sector / 2, sector) - sector / 2
    x, y = np.hypot(u, v) * np.cos(angle), np.abs(np.hypot(u, v) * np.sin(angle))
    inner = 0.42
    tip, notch = np.array([1.0, 0.0]), inner * np.array([np.cos(sector / 2), np.sin(sector / 2)])
    edge = notch - tip
    return np.asarray(edge[0] * y - edge[1] * (x - tip[0]) <= 0)


def _heart(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    lobes = (np.abs(u) - 0.5) ** 2 + (v + 0.42) ** 2 <= 0.5**2
    body = (np.abs(u) <= 0.93 * (1 - v) / 1.2) & (v > -0.3) & (v <= 0.95)
    return np.asarray(lobes | body)


_MASKS: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]] = {
    "circle": lambda u, v: u**2 + v**2 <= 1,
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) <= 0.92,
    "triangle": lambda u, v: (v <= 0.9) & (np.abs(u) <= (v + 0.95) / 1.85),
    "cross": lambda u, v: (np.minimum(np.abs(u), np.abs(v)) <= 0.33) & (np.maximum(np.abs(u), np.abs(v)) <= 1),
    "star": _star,
    "ring": lambda u, v: (u**2 + v**2 <= 1) & (u**2 + v**2 >= 0.5**2),
    "heart": _heart,
    "moon": lambda u, v: (u**2 + v**2 <= 1) & ((u - 0.55) ** 2 + v**2 >= 0.75**2),
}


def render(scene: Scene, resolution: int) -> NDArray[np.uint8]:
    """The scene as uint8 RGB ``[resolution, resolution, 3]``."""
    image = np.full((resolution, resolution, 3), scene.background, dtype=np.float64)
    for item in scene.items:
        x1, y1, x2, y2 = item.box
        left, top = max(int(np.floor(x1 * resolution)), 0), max(int(np.floor(y1 * resolution)), 0)
        right, bottom = (
            min(int(np.ceil(x2 * resolution)), resolution),
            min(int(np.ceil(y2 * resolution)), resolution),
        )
        xs = (left + (np.arange((right - left) * SUPERSAMPLING) + 0.5) / SUPERSAMPLING) / resolution
        ys = (top + (np.arange((bottom - top) * SUPERSAMPLING) + 0.5) / SUPERSAMPLING) / resolution
        u, v = np.meshgrid((xs - item.x) / item.radius, (ys - item.y) / item.radius)
        inside = shape_mask(item.shape, u, v).reshape(bottom - top, SUPERSAMPLING, right - left, SUPERSAMPLING)
        cover = inside.mean(axis=(1, 3))[..., None]
        patch = image[top:bottom, left:right]
        patch[:] = patch * (1 - cover) + np.asarray(COLOURS[item.colour]) * cover
    return np.asarray(np.round(image * 255), dtype=np.uint8)
