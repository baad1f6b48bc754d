"""Audit the captions of a data set: overlap with GenEval, and near-duplicates between it and a held-out set."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, NamedTuple

from tqdm import tqdm

from unimm.curation.duplicates import near_duplicates
from unimm.curation.geneval_overlap import LEVELS, overlap
from unimm.curation.opening import spread
from unimm.data.files_source import FilesSource
from unimm.data.source import Unusable

SHOWN = 5


class Captioned(NamedTuple):
    """One caption of a sample."""

    key: str
    text: str


def captions(source: FilesSource, count: int | None) -> list[Captioned]:
    """Every caption of ``count`` samples spread evenly over the set; samples without one are passed over."""
    found = []
    for index in tqdm(spread(len(source), count), desc="reading captions", unit="sample"):
        try:
            texts = source.texts(index)
        except Unusable:
            continue
        found += [Captioned(source.key(index), text) for text in texts.captions]
    return found


def audit_geneval(rows: list[Captioned]) -> dict[str, Any]:
    """How many captions overlap with GenEval, by level and task, with examples."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    examples: dict[str, list[str]] = defaultdict(list)
    for row in tqdm(rows, desc="comparing with GenEval", unit="caption"):
        found = overlap(row.text)
        if found is not None:
            counts[found.level][found.task] += 1
            examples[found.level].append(f"{row.key}: {row.text}")
    return {
        level: {"count": counts[level].total(), "tasks": dict(counts[level]), "examples": examples[level][:SHOWN]}
        for level in LEVELS
    }


def audit_duplicates(rows: list[Captioned], held_out: list[Captioned], threshold: float) -> dict[str, Any]:
    """How many captions of ``held_out`` have a near-duplicate in ``rows``, with examples."""
    found = near_duplicates([row.text for row in rows], [row.text for row in held_out], threshold)
    pairs = [
        {
            "held_out": held_out[pair.other]._asdict(),
            "trained_on": rows[pair.kept]._asdict(),
            "similarity": pair.similarity,
        }
        for pair in found
    ]
    return {"threshold": threshold, "captions": len(held_out), "count": len(pairs), "pairs": pairs}


def lines(report: dict[str, Any]) -> list[str]:
    """The report as text."""
    total = report["captions"]
    shown = [f"{total} captions of {report['samples']} samples"]
    for level, found in report["geneval"].items():
        share = found["count"] / max(total, 1)
        tasks = ", ".join(f"{task} {count}" for task, count in found["tasks"].items())
        shown.append(f"{LEVELS[level]:<34}{found['count']:>8} ({share:.2%}) {tasks}".rstrip())
        shown += [f"  {example}" for example in found["examples"]]
    duplicates = report.get("duplicates")
    if duplicates:
        shown.append(
            f"{duplicates['count']} of {duplicates['captions']} held-out captions have a near-duplicate here "
            f"(Jaccard similarity of three-word shingles from {duplicates['threshold']})"
        )
        shown += [
            f"  {pair['similarity']:.2f} {pair['held_out']['key']}: {pair['held_out']['text']}"
            for pair in duplicates["pairs"][:SHOWN]
        ]
    return shown
