"""Atoms: the parts of a prompt, each scored alone, so that arms can be told apart before strict scores leave zero.

All atoms lie in [0, 1] and read the judge's detections only:

- ``object``: are there as many objects as asked for, whatever they are? min(found, needed) / needed.
- ``shape``: multiset overlap of the found and the requested shapes / needed.
- ``colour``: multiset overlap of the found and the requested colours / colours requested; only where a colour is.
- ``count``: 1 if exactly as many objects were found as were asked for.
- ``relation``: 1 if any pair of detections with the two requested shapes stands in the requested relation; only where
  a relation is requested, and 0 if one of the shapes is missing.

Unlike the strict rules, no atom asks that shape and colour belong to the same object.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from unimm.scenes.geneval_rules import relative_position
from unimm.scenes.judge import Detection


def atoms(detections: Sequence[Detection], metadata: Mapping[str, Any]) -> dict[str, float]:
    """The atoms that apply to a prompt, by name."""
    clauses = metadata["include"]
    shapes: Counter[str] = Counter()
    colours: Counter[str] = Counter()
    for clause in clauses:
        shapes[clause["class"]] += clause["count"]
        if "color" in clause:
            colours[clause["color"]] += clause["count"]
    needed = shapes.total()
    assert needed > 0, "a prompt without objects has no atoms"
    scores = {
        "object": min(len(detections), needed) / needed,
        "shape": _overlap(Counter(d.shape for d in detections), shapes),
        "count": float(len(detections) == needed),
    }
    if colours:
        scores["colour"] = _overlap(Counter(d.colour for d in detections), colours)
    relations = [
        _holds(detections, clause["class"], clause["position"][0], clauses[clause["position"][1]]["class"])
        for clause in clauses
        if "position" in clause
    ]
    if relations:
        scores["relation"] = sum(relations) / len(relations)
    return scores


def _overlap(found: Counter[str], wanted: Counter[str]) -> float:
    return (found & wanted).total() / wanted.total()


def _holds(detections: Sequence[Detection], subject: str, relation: str, target: str) -> bool:
    return any(
        relation in relative_position(a.box, b.box)
        for a in detections
        for b in detections
        if a is not b and a.shape == subject and b.shape == target
    )
