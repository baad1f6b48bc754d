"""GenEval's rules and its way to average them: the mean of each task, then the unweighted mean of the tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from unimm.scenes.geneval_rules import compute_iou, evaluate_image, relative_position

__all__ = ["compute_iou", "evaluate_image", "relative_position", "task_scores"]


def task_scores(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Tag to ``{"score", "n"}`` over rows with ``tag`` and ``correct`` (one per image), in order of appearance.

    ``overall`` is the unweighted mean of the tags' scores with the number of all images, as in ``summary_scores.py``.
    """
    by_tag: dict[str, list[bool]] = {}
    for row in rows:
        by_tag.setdefault(row["tag"], []).append(bool(row["correct"]))
    if not by_tag:
        raise ValueError("no rows to score: give one row with tag and correct for every image")
    scores: dict[str, dict[str, float]] = {
        tag: {"score": sum(correct) / len(correct), "n": len(correct)} for tag, correct in by_tag.items()
    }
    overall = sum(entry["score"] for entry in scores.values()) / len(scores)
    return {**scores, "overall": {"score": overall, "n": sum(len(correct) for correct in by_tag.values())}}
