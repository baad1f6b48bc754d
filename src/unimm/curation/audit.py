"""Audit the captions of a data set: overlap with GenEval, and near-duplicates between it and a held-out set.

Scores after training on captions that overlap with GenEval measure that too, so an audit says how much of it there is.
A caption may be one of its prompts, or only share its templates, which teach the form of the test: BLIP3-o's 60k
instruction images contain "a photo of a soap bar", which is no prompt of GenEval, but its sentence.

Near-duplicates are found by MinHash and locality-sensitive hashing, and verified exactly. Captions are sets of
three-word shingles. The share of equal minima under random hashes estimates the Jaccard similarity of two sets (Broder,
1997); captions that agree in a whole band of minima are compared exactly. With 32 bands of 4, a pair of similarity 0.8
is found with probability 1 - (1 - 0.8^4)^32 > 0.9999.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from unimm.curation.inspection import spread
from unimm.data.files_source import FilesSource
from unimm.data.source import Unusable
from unimm.evaluation.geneval.prompts import OBJECT_NAMES, generate_prompts
from unimm.scenes.prompts import NUMBERS, plural
from unimm.scenes.world import COLOURS, RELATIONS

BANDS, ROWS, SHINGLE, VERIFIED = 32, 4, 3, 20
_RNG = np.random.default_rng(67)
_FACTORS = _RNG.integers(2**63, size=(BANDS * ROWS, 1), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_OFFSETS = _RNG.integers(2**63, size=(BANDS * ROWS, 1), dtype=np.uint64)
LEVELS = {
    "prompt": "is a GenEval prompt",
    "contains": "contains a GenEval prompt",
    "classes": "GenEval's template and classes",
    "template": "GenEval's template, other things",
}
SHOWN = 5


class Duplicate(NamedTuple):
    """A caption of the second set and the most similar one of the first, with their Jaccard similarity."""

    other: int
    kept: int
    similarity: float


def words_of(text: str) -> list[str]:
    """Lower-case words, punctuation dropped."""
    return re.findall(r"\w+", text.lower())


def shingles(text: str) -> frozenset[int]:
    """Hashes of every three words in a row; of all words together where there are fewer."""
    words = words_of(text)
    windows = (words[begin : begin + SHINGLE] for begin in range(max(1, len(words) - SHINGLE + 1)))
    return frozenset(
        int.from_bytes(hashlib.blake2b(" ".join(window).encode(), digest_size=8).digest(), "big") for window in windows
    )


def jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    """Size of the intersection over size of the union."""
    return len(a & b) / len(a | b)


def signature(hashes: frozenset[int]) -> NDArray[np.uint32]:
    """The minimum of the set under each of 128 random hash functions (multiply-shift on 64 bits)."""
    values = np.fromiter(hashes, dtype=np.uint64)
    mixed = ((_FACTORS * values + _OFFSETS) >> np.uint64(32)).astype(np.uint32)
    return np.asarray(mixed.min(axis=1), dtype=np.uint32)


def near_duplicates(kept: Sequence[str], others: Sequence[str], threshold: float) -> list[Duplicate]:
    """For each of ``others`` that has one, the caption of ``kept`` at or above the similarity.

    Of very many candidates the 20 that agree in most bands are compared.
    """
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    sets = [shingles(text) for text in kept]
    for number, hashes in enumerate(tqdm(sets, desc="hashing captions", unit="caption")):
        for band in _bands(hashes):
            buckets[band].append(number)
    found = []
    for other, text in enumerate(tqdm(others, desc="comparing captions", unit="caption")):
        hashes = shingles(text)
        candidates = Counter(number for band in _bands(hashes) for number in buckets.get(band, ()))
        similar = [(jaccard(hashes, sets[number]), -number) for number, _ in candidates.most_common(VERIFIED)]
        best, number = max(similar, default=(0.0, 0))
        if best >= threshold:
            found.append(Duplicate(other, -number, best))
    return found


def _bands(hashes: frozenset[int]) -> list[tuple[int, bytes]]:
    rows = signature(hashes).reshape(BANDS, ROWS)
    return [(number, row.tobytes()) for number, row in enumerate(rows)]


class Overlap(NamedTuple):
    """How a caption overlaps (a key of `LEVELS`, the strongest that holds) and with which task."""

    level: str
    task: str


def overlap(caption: str) -> Overlap | None:
    """How a caption overlaps with GenEval; case and punctuation do not count."""
    words = words_of(caption)
    prompts = _prompts()
    text = " ".join(words)
    if text in prompts:
        return Overlap("prompt", prompts[text])
    for length in _lengths():
        for begin in range(len(words) - length + 1):
            part = " ".join(words[begin : begin + length])
            if part in prompts:
                return Overlap("contains", prompts[part])
    for level, noun in (("classes", _classes()), ("template", r"\w+(?: \w+){0,2}")):
        for task, pattern in _templates(noun).items():
            if pattern.fullmatch(text):
                return Overlap(level, task)
    return None


@cache
def _prompts() -> dict[str, str]:
    return {" ".join(words_of(str(sample["prompt"]))): str(sample["tag"]) for sample in generate_prompts()}


@cache
def _lengths() -> list[int]:
    return sorted({len(prompt.split()) for prompt in _prompts()}, reverse=True)


@cache
def _classes() -> str:
    names = {form for name in OBJECT_NAMES for form in (name, plural(name))}
    return f"(?:{'|'.join(sorted(names, key=len, reverse=True))})"


@cache
def _templates(noun: str) -> dict[str, re.Pattern[str]]:
    """A pattern for each of the six tasks, the more special ones first; ``noun`` is the pattern of a thing."""
    start, one = "an? (?:photo|picture|image) of", f"an? {noun}"
    colour, relation = f"(?:{'|'.join(COLOURS)})", f"(?:{'|'.join(RELATIONS)})"
    coloured = f"an? {colour} {noun}"
    forms = {
        "color_attr": f"{start} {coloured} and {coloured}",
        "position": f"{start} {one} {relation} {one}",
        "colors": f"{start} {coloured}",
        "counting": f"{start} (?:{'|'.join(NUMBERS.values())}) {noun}",
        "two_object": f"{start} {one} and {one}",
        "single_object": f"{start} {one}",
    }
    return {task: re.compile(form) for task, form in forms.items()}


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
