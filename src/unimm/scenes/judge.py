"""The judge: find coloured shapes in an image by reading its pixels, without learning anything.

Every pixel takes the nearest of the background grey and the world's colours; connected pixels off the background
form a component; a component's colour is its most frequent label. Its mask is where the colour covers at least half
of a pixel (unmixed from the background, so that antialiased rims cost nothing even at 32 pixels), and its shape the
template with the best intersection over union once the bounding box is scaled to a square. That IoU is the score;
poor ones are dropped, as are specks. Components of several colours, as touching objects make, are split by colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unimm.scenes.render import render
from unimm.scenes.world import BACKGROUND, COLOURS, Item, Scene, World

MIN_IOU = 0.6
MIXED = 0.25  # share of a component that makes a colour more than a rim, if it has an inside too
GRID = 24
MARGIN = 2  # pixels around a patch: one for its rim, one that stays empty
PixelArray = NDArray[np.float32]


@dataclass(frozen=True)
class Detection:
    """One object: box (x1, y1, x2, y2) in pixels, score = IoU with the shape's template."""

    shape: str
    colour: str
    box: tuple[float, float, float, float]
    score: float


def detect(image: NDArray[np.uint8], world: World) -> list[Detection]:
    """All objects of the world's shapes and colours on an image ``[H, W, 3]``, most certain first."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"the judge reads uint8 images [H, W, 3], not {image.dtype} {list(image.shape)}")
    colours = np.asarray(image, dtype=np.float32) * np.float32(1 / 255)
    background = _background(colours)
    pixels = _padded(colours, background)
    labels = _label(pixels, background, world.colours)
    smallest = world.radius[0] * min(image.shape[:2])
    shapes, templates = world.shapes, _templates(world, min(image.shape[:2]))
    found = []
    for colour, top, left, coverage in _components(pixels, labels, background, world.colours):
        normal = _normalise(coverage)
        if normal is None:
            continue
        grid, (x1, y1, x2, y2) = normal
        if max(x2 - x1, y2 - y1) < smallest:
            continue
        iou = _iou(templates, grid)
        best = int(iou.argmax())
        if iou[best] >= MIN_IOU:
            x, y = left - MARGIN, top - MARGIN
            found.append(Detection(shapes[best], colour, (x1 + x, y1 + y, x2 + x, y2 + y), float(iou[best])))
    return sorted(found, key=lambda detection: -detection.score)


def to_objects(detections: Sequence[Detection]) -> dict[str, list[list[Any]]]:
    """Detections in GenEval's form: class to ``[x1, y1, x2, y2, score, colour]``, most certain first."""
    objects: dict[str, list[list[Any]]] = {}
    for d in sorted(detections, key=lambda detection: -detection.score):
        objects.setdefault(d.shape, []).append([*d.box, d.score, d.colour])
    return objects


def _background(pixels: PixelArray) -> PixelArray:
    """The median of the pixels that could be background, else the middle of the background's range."""
    low, high = BACKGROUND[0] - 0.1, BACKGROUND[1] + 0.1
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    darkest = np.minimum(np.minimum(red, green), blue)
    brightest = np.maximum(np.maximum(red, green), blue)
    candidates = pixels[(brightest - darkest < 0.15) & (darkest > low) & (brightest < high)]
    if len(candidates) < 0.05 * darkest.size:
        return np.full(3, sum(BACKGROUND) / 2, dtype=np.float32)
    return np.asarray(np.median(candidates, axis=0), dtype=np.float32)


def _padded(pixels: PixelArray, background: PixelArray) -> PixelArray:
    height, width, _ = pixels.shape
    padded = np.empty((height + 2 * MARGIN, width + 2 * MARGIN, 3), dtype=np.float32)
    padded[:] = background
    padded[MARGIN:-MARGIN, MARGIN:-MARGIN] = pixels
    return padded


def _label(pixels: PixelArray, background: PixelArray, colours: tuple[str, ...]) -> NDArray[np.intp]:
    """Nearest of the background (0) and the colours (1, 2, ...) for every pixel."""
    palette = np.stack([background, *(np.asarray(COLOURS[c], dtype=np.float32) for c in colours)])
    distance = (palette**2).sum(axis=1)[:, None] - 2 * palette @ pixels.reshape(-1, 3).T
    return np.asarray(distance.argmin(axis=0).reshape(pixels.shape[:2]))


def _components(
    pixels: PixelArray, labels: NDArray[np.intp], background: PixelArray, colours: tuple[str, ...]
) -> Iterator[tuple[str, int, int, PixelArray]]:
    """(colour, top, left, coverage of a patch) of every connected component, in the padded image."""
    numbered, _ = ndimage.label(labels > 0)
    for number, (rows, columns) in enumerate(ndimage.find_objects(numbered), start=1):
        if rows.stop - rows.start < 3 or columns.stop - columns.start < 3:
            continue
        top, left = rows.start - MARGIN, columns.start - MARGIN
        patch = (slice(top, rows.stop + MARGIN), slice(left, columns.stop + MARGIN))
        here, own = labels[patch], numbered[patch] == number
        counts = np.bincount(here[own], minlength=len(colours) + 1)
        strong = np.flatnonzero(counts >= MIXED * counts.sum())
        solid = [int(n) for n in strong if ndimage.binary_erosion(own & (here == n)).any()] if len(strong) > 1 else []
        if len(solid) > 1:
            yield from _split(here, own, solid, colours, top, left)
            continue
        label = int(counts.argmax())
        axis = np.asarray(COLOURS[colours[label - 1]], dtype=np.float32) - background
        coverage = (pixels[patch] - background) @ (axis / (axis @ axis))
        rim = own.copy()
        rim[1:] |= own[:-1]
        rim[:-1] |= own[1:]
        rim[:, 1:] |= own[:, :-1]
        rim[:, :-1] |= own[:, 1:]
        yield colours[label - 1], top, left, np.where(rim, coverage.clip(0, 1), 0).astype(np.float32)


def _split(
    labels: NDArray[np.intp],
    own: NDArray[np.bool_],
    solid: Sequence[int],
    colours: tuple[str, ...],
    top: int,
    left: int,
) -> Iterator[tuple[str, int, int, PixelArray]]:
    """The parts of a component of several colours; their own labels are their coverage."""
    for label in solid:
        parts, _ = ndimage.label(own & (labels == label))
        for number in range(1, int(parts.max()) + 1):
            yield colours[label - 1], top, left, (parts == number).astype(np.float32)


def _normalise(coverage: PixelArray) -> tuple[PixelArray, tuple[float, float, float, float]] | None:
    """The mask scaled to a square grid (aspect kept, centred) and its box, with edges found between pixels."""
    horizontal, vertical = _extent(coverage.max(axis=0)), _extent(coverage.max(axis=1))
    if horizontal is None or vertical is None:
        return None
    (x1, x2), (y1, y2) = horizontal, vertical
    side = max(x2 - x1, y2 - y1)
    across = _resampling((x1 + x2) / 2, side, coverage.shape[1])
    down = _resampling((y1 + y2) / 2, side, coverage.shape[0])
    grid = (down @ coverage @ across.T >= 0.5).astype(np.float32).ravel()
    return grid, (x1, y1, x2, y2)


def _extent(profile: PixelArray) -> tuple[float, float] | None:
    """First and last place where a profile that is 0 at both ends crosses one half; pixel i spans i to i + 1."""
    inside = np.flatnonzero(profile >= 0.5)
    if len(inside) == 0 or inside[0] == 0 or inside[-1] == len(profile) - 1:
        return None
    first, last = int(inside[0]), int(inside[-1])
    p = profile
    start = first + 0.5 - (p[first] - 0.5) / (p[first] - p[first - 1])
    stop = last + 0.5 + (p[last] - 0.5) / (p[last] - p[last + 1])
    return float(start), float(stop)


def _resampling(centre: float, side: float, size: int) -> PixelArray:
    """Bilinear weights ``[GRID, size]`` that sample an axis at GRID cell centres of a span."""
    places = centre + side * ((np.arange(GRID, dtype=np.float32) + 0.5) / GRID - 0.5)
    distance = np.abs(places[:, None] - (np.arange(size, dtype=np.float32) + 0.5))
    return np.asarray(np.maximum(1 - distance, 0), dtype=np.float32)


@lru_cache(maxsize=16)
def _templates(world: World, resolution: int) -> PixelArray:
    """Every shape as the judge sees it at three sizes and four offsets within a pixel: [shapes, 12, cells]."""
    low, high = world.radius
    radii, steps = (low, (low + high) / 2, high), (0.0, 0.5 / resolution)
    grids = []
    for shape in world.shapes:
        for radius, dx, dy in product(radii, steps, steps):
            scene = Scene((Item(shape, "white", 0.5 + dx, 0.5 + dy, radius),), 0.5)
            bright = render(scene, resolution)[..., 0].astype(np.float32)
            coverage = (bright - bright.min()) / (bright.max() - bright.min())
            normal = _normalise(np.asarray(coverage, dtype=np.float32))
            assert normal is not None, "every template stands clear of the border"
            grids.append(normal[0])
    return np.stack(grids).reshape(len(world.shapes), -1, GRID * GRID)


def _iou(templates: PixelArray, grid: PixelArray) -> PixelArray:
    """Best IoU of a grid with each shape's templates."""
    common = templates @ grid
    return np.asarray((common / (templates.sum(axis=2) + grid.sum() - common)).max(axis=1), dtype=np.float32)
