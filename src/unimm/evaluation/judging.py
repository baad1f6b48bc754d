"""GenEval-style score and atoms of a set of images, by the scenes' judge.

An image counts as a failure when nothing is found on it; none is ever dropped. Overall is GenEval's: the unweighted
mean of the task means. Each atom is averaged over the prompts it applies to; atoms/overall is the mean of the atoms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from torch import Tensor
from tqdm import tqdm

from unimm.evaluation.geneval import evaluate_image
from unimm.scenes.atoms import atoms
from unimm.scenes.judge import Detection, detect, to_objects
from unimm.scenes.prompts import Metadata
from unimm.scenes.world import FAMILIES, World

ATOMS = ("object", "shape", "colour", "count", "relation")


class Judged(NamedTuple):
    """One image against one prompt."""

    tag: str
    correct: bool
    reason: str
    atoms: dict[str, float]


def find_objects(images: UInt8[Tensor, "m 3 s s"], world: World) -> list[list[Detection]]:
    """What the judge sees on every image."""
    arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
    return [detect(np.ascontiguousarray(image), world) for image in tqdm(arrays, desc="judging", unit="image")]


def judge(found: list[list[Detection]], prompts: list[Metadata]) -> list[Judged]:
    """Each image's detections against its prompt."""
    if len(found) != len(prompts):
        raise ValueError(f"{len(found)} images for {len(prompts)} prompts: every prompt needs its image")
    rows = []
    for detections, metadata in zip(found, prompts, strict=True):
        correct, reason = evaluate_image(to_objects(detections), metadata)
        rows.append(Judged(metadata["tag"], bool(correct), reason, atoms(detections, metadata)))
    return rows


def summarise(rows: list[Judged]) -> dict[str, tuple[float, int]]:
    """Score name to (value, number of images)."""
    scores: dict[str, tuple[float, int]] = {}
    for family in FAMILIES:
        own = [row.correct for row in rows if row.tag == family]
        if own:
            scores[f"geneval/{family}"] = (float(np.mean(own)), len(own))
    scores["geneval/overall"] = (float(np.mean([v for v, _ in scores.values()])), len(rows))
    kinds: dict[str, Any] = {k: [row.atoms[k] for row in rows if k in row.atoms] for k in ATOMS}
    means = {k: (float(np.mean(v)), len(v)) for k, v in kinds.items() if v}
    scores |= {f"atoms/{k}": v for k, v in means.items()}
    scores["atoms/overall"] = (float(np.mean([v for v, _ in means.values()])), len(rows))
    return scores
