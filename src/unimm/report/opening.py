"""What a run's page opens with: its question, the arm in words, three scores between floor and ceiling, twelve images.

The images are the kept ones at even distances, so that nobody picks them by what they show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from unimm import arm_words
from unimm.evaluation.words import Glossary
from unimm.report.table import number, shown_value
from unimm.runs.record import NamedScores, Result, ScoreRecord

NUMBERS, TILES = 3, 12
# Whole prompts, single facts and answers say most; runs that did not measure one of them show their next headline.
FIRST = ("geneval/overall", "atoms/overall", "understanding/overall")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Place:
    """Where a score and its limits lie between 0 and 1, in per cent of a bar."""

    value: float
    limits: tuple[float, ...]


@dataclass(frozen=True)
class HeadlineNumber:
    """One score with its floor and ceiling, ready to print; `at` is None where it is no fraction."""

    label: str
    value: str
    floor: str
    ceiling: str
    n: str
    at: Place | None


@dataclass(frozen=True)
class Opening:
    """The first screen without its images."""

    question: str
    arm: str
    numbers: tuple[HeadlineNumber, ...]


def opening(result: Result) -> Opening:
    """The first screen of a run's page, from its record alone."""
    question = str(result.config.get("question") or "") or f"{result.arm}, seed {result.seed}"
    return Opening(question, _arm(result), tuple(_number(score, result) for score in _chosen(result)))


def spread(items: Sequence[Item], count: int = TILES) -> list[int]:
    """Positions of at most `count` items, at even distances."""
    few = min(count, len(items))
    return [number * len(items) // few for number in range(few)]


def _arm(result: Result) -> str:
    """The arm in a sentence, with what it trained on; only the numbers where the record has no configuration."""
    known = all(isinstance(result.config.get(part), dict) for part in arm_words.PARTS)
    parts = [arm_words.sentence(result.phrases or arm_words.phrases(result.config))] if known else []
    if result.latent_shape is not None:
        shape = result.latent_shape
        parts.append(f"An image is {shape.tokens} tokens of {shape.channels} channels.")
    counts = result.counts
    trained = f"Trained on {counts.generation_samples:,} generation samples"
    # Older records do not tell the run's own understanding samples from those of the foundation.
    before = counts.understanding_samples if counts.understanding_before is None else counts.understanding_before
    own = counts.understanding_samples - before
    return " ".join([*parts, f"{trained} and {own:,} understanding samples." if own else f"{trained}."])


def _chosen(result: Result) -> list[ScoreRecord]:
    scores = {score.name: score for score in result.scores if score.value is not None}
    first = [name for name in FIRST if name in scores]
    more = [name for name in Glossary(result.words).headlines(scores) if name not in first]
    return [scores[name] for name in [*first, *more][:NUMBERS]]


def _number(score: ScoreRecord, result: Result) -> HeadlineNumber:
    floor = _limit(result.floors, score.name)
    # The ceiling of what an arm's parts allow; of answers, which have no decoder, that of all right.
    ceiling = _limit({k: v for k, v in result.ceilings.items() if k != "real"} or result.ceilings, score.name)
    limits = tuple(100 * value for value in (floor, ceiling) if value is not None)
    value = math.nan if score.value is None else score.value
    fraction = all(0 <= each <= 1 for each in (value, *(limit / 100 for limit in limits)))
    words = Glossary(result.words)[score.name]
    return HeadlineNumber(
        label=words.headline or words.label,
        value=shown_value(score),
        floor="not measured" if floor is None else number(floor),
        ceiling="not measured" if ceiling is None else number(ceiling),
        n=f"{score.n:,}",
        at=Place(100 * value, limits) if fraction else None,
    )


def _limit(tables: dict[str, NamedScores], name: str) -> float | None:
    """A score's floor or ceiling; the lowest ceiling where several parts set one."""
    found = [value for values in tables.values() if (value := values.get(name)) is not None]
    return min(found) if found else None
