"""GenEval's decision rules, re-implemented: which detections make a prompt correct.

Agrees with ``evaluation/evaluate_images.py`` of djghosh13/geneval (see ``tests/data/geneval_vectors.json``), quirks
included: extra objects are never penalised except by an ``exclude`` clause, colours count only among the boxes used
for the clause, and a relation must hold for every pair of found and target objects.

``objects`` maps a class to its boxes ``[x1, y1, x2, y2, score, colour]``, most confident first and already past the
detector's threshold: official GenEval filters (score above 0.3, or above 0.9 for counting) before it decides, and
each detector here brings its own threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

POSITION_THRESHOLD = 0.1
DIRECTION_CUT = 0.5
STILL = 1e-3

Box = Sequence[Any]
Objects = Mapping[str, Sequence[Box]]
Where = Callable[[Box, Box], set[str]]


def relative_position(box_a: Box, box_b: Box, position_threshold: float = POSITION_THRESHOLD) -> set[str]:
    """Where A lies as seen from B: up to two of left of, right of, above, below; none when the boxes mostly coincide.

    The distance of the centres is shortened by a share of both sizes, then measured against the full distance.
    """
    (centre_a, size_a), (centre_b, size_b) = _centre_and_size(box_a), _centre_and_size(box_b)
    offset = centre_a - centre_b
    free = np.maximum(np.abs(offset) - position_threshold * (size_a + size_b), 0) * np.sign(offset)
    if np.all(np.abs(free) < STILL):
        return set()
    dx, dy = free / np.linalg.norm(offset)
    holds = {
        "left of": dx < -DIRECTION_CUT,
        "right of": dx > DIRECTION_CUT,
        "above": dy < -DIRECTION_CUT,
        "below": dy > DIRECTION_CUT,
    }
    return {relation for relation, true in holds.items() if true}


def _centre_and_size(box: Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    corners = np.asarray(box[:4], dtype=np.float64).reshape(2, 2)
    return corners.mean(axis=0), np.abs(corners[1] - corners[0])


def compute_iou(box_a: Box, box_b: Box) -> float:
    """Intersection over union with GenEval's inclusive pixels: a box from 2 to 4 is three pixels wide."""

    def area(x1: float, y1: float, x2: float, y2: float) -> float:
        return max(x2 - x1 + 1, 0) * max(y2 - y1 + 1, 0)

    common = area(max(box_a[0], box_b[0]), max(box_a[1], box_b[1]), min(box_a[2], box_b[2]), min(box_a[3], box_b[3]))
    union = area(*box_a[:4]) + area(*box_b[:4]) - common
    return float(common / union) if union else 0.0


def evaluate_image(objects: Objects, metadata: Mapping[str, Any], where: Where = relative_position) -> tuple[bool, str]:
    """Whether the objects satisfy a prompt's metadata, and why not (one line per failure).

    ``where`` says in which relations a box stands to another; the default is GenEval's rule.
    """
    reasons: list[str] = []
    matched: list[Sequence[Box] | None] = []
    for clause in metadata.get("include", []):
        found = objects.get(clause["class"], [])[: clause["count"]]
        reason = _why_not(clause, found, matched, where)
        matched.append(None if reason else found)
        reasons += reason
    for clause in metadata.get("exclude", []):
        number = len(objects.get(clause["class"], []))
        if number >= clause["count"]:
            reasons.append(f"expected {clause['class']}<{clause['count']}, found {number}")
    return not reasons, "\n".join(reasons)


def _why_not(
    clause: Mapping[str, Any], found: Sequence[Box], matched: Sequence[Sequence[Box] | None], where: Where
) -> list[str]:
    """What speaks against one include clause, given its objects: too few, else wrong colour, else wrong place."""
    name, count = clause["class"], clause["count"]
    reasons: list[str] = []
    if len(found) < count:
        reasons.append(f"expected {name}>={count}, found {len(found)}")
    elif "color" in clause:
        reasons += _wrong_colour(name, count, clause["color"], [box[5] for box in found])
    if "position" in clause and not reasons:
        relation, group = clause["position"]
        reasons += _wrong_place(name, relation, found, matched[group], where)
    return reasons


def _wrong_colour(name: str, count: int, wanted: str, colours: list[str]) -> list[str]:
    if colours.count(wanted) >= count:
        return []
    seen = ", ".join(f"{colours.count(c)} {c}" for c in sorted(set(colours)))
    return [f"expected {wanted} {name}>={count}, found {colours.count(wanted)} {wanted}; and {seen}"]


def _wrong_place(
    name: str, relation: str, found: Sequence[Box], targets: Sequence[Box] | None, where: Where
) -> list[str]:
    if targets is None:
        return [f"no target for {name} to be {relation}"]
    for box in found:
        for target in targets:
            held = where(box, target)
            if relation not in held:
                seen = " and ".join(sorted(held))
                return [f"expected {name} {relation} target, found {seen} target"]
    return []
