"""Understanding: one-word answers and whole descriptions of test images, and what generation training did to them.

Answers are scored by kind of question; overall is the mean of the kinds. Chance (one over the number of possible
answers) stands in the protocol; the floor that matters, the same backbone shown a blank image, comes from scoring blind
answers with this metric too. What an answer owes to the image is the score above that floor, question by question,

    above blind = mean over questions of (right with the image) - (right without it),

since a backbone that learns which answers are frequent raises both.

A description is read by the grammar of long captions backwards. Its facts are objects (size, colour, shape, place) and
relations between coloured shapes. It may name a scene's relations in any order and need not name all of them, so that
for relations only the share of stated ones that hold is known; objects are all to be named once, so that they have an
F1.

Retention compares the same questions answered before generation training and after it. Answers pair by question, so
that the effect, after minus before, hangs on the questions whose answer flipped only. With n questions, of which
``gained`` became right and ``lost`` became wrong, its interval is that of Agresti and Min (2005): Wald's, with half a
question added to each of the four outcomes,

    d = (gained - lost) / (n + 2),   s^2 = (gained + lost + 1 - (gained - lost)^2 / (n + 2)) / (n + 2)^2,   d +- z s,

which keeps its coverage when few answers flip and does not shrink to a point when none does. Overall is the mean of the
kinds, as in the understanding score. The interval is about other questions to the same two models; it says nothing of
other training seeds. Before and after a frozen backbone there is no effect to estimate: it is exactly what it was.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm

from unimm.component_config import ComponentConfig
from unimm.evaluation.asking import REQUEST
from unimm.evaluation.metric import Answered, Described, Evidence, Metric, Score
from unimm.evaluation.statistics import clustered, clustered_mean
from unimm.evaluation.words import LESS_BLIND, above_blind
from unimm.foundation.folder import Foundation
from unimm.scenes.captions import place, size
from unimm.scenes.questions import KINDS
from unimm.scenes.world import RELATIONS, Scene

_OBJECT = re.compile(r"\ban? (small|large) (\w+) (\w+) in the (\w+ \w+) of the image\b")
_RELATION = re.compile(rf"\bthe (\w+) (\w+) is ({'|'.join(RELATIONS)}) the (\w+) (\w+)\b")
LEVEL = 0.95


class Stated(NamedTuple):
    """Objects as (size, colour, shape, place), and relations as (colour, shape, relation, colour, shape)."""

    objects: list[tuple[str, str, str, str]]
    relations: list[tuple[str, str, str, str, str]]


class Truth(NamedTuple):
    """F1 of coloured shapes, and of those with their place, share of true relations, and whether all objects agree.

    ``relations`` is None for a description that states none.
    """

    objects: float
    places: float
    relations: float | None
    exact: bool


def read(description: str) -> Stated:
    """The facts that a description states; words outside the grammar state nothing."""
    return Stated(
        [found.groups() for found in _OBJECT.finditer(description)],  # type: ignore[misc]
        [found.groups() for found in _RELATION.finditer(description)],  # type: ignore[misc]
    )


def truth(description: str, scene: Scene) -> Truth:
    """How true a description is of a scene."""
    stated = read(description)
    shown = [(size(item), item.colour, item.shape, place(item)) for item in scene.items]
    return Truth(
        f1(Counter(o[1:3] for o in stated.objects), Counter(o[1:3] for o in shown)),
        f1(Counter(o[1:] for o in stated.objects), Counter(o[1:] for o in shown)),
        sum(_holds(relation, scene) for relation in stated.relations) / len(stated.relations)
        if stated.relations
        else None,
        Counter(stated.objects) == Counter(shown),
    )


def f1(stated: Counter[tuple[str, ...]], shown: Counter[tuple[str, ...]]) -> float:
    """Harmonic mean of precision and recall of two multisets; 0 where nothing is stated of something."""
    return 2 * (stated & shown).total() / (stated.total() + shown.total())


def _holds(relation: tuple[str, str, str, str, str], scene: Scene) -> bool:
    """Whether any two objects of these colours and shapes stand like that."""
    *subject, word, colour, shape = relation
    return any(
        [a.colour, a.shape] == subject and (b.colour, b.shape) == (colour, shape) and a.stands(word, b)
        for a in scene.items
        for b in scene.items
        if a is not b
    )


class Understanding(Metric):
    """Accuracy of answers by kind of question (exists, count, colour, relation) and overall, truth of descriptions."""

    class Config(ComponentConfig):
        """Nothing to set."""

    needs = frozenset({"answers"})
    families = frozenset({"understanding", "descriptions"})

    def __init__(self, config: Config, foundation: Foundation) -> None:
        self.config = config

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.answers is not None
        answers = _scores(evidence.answers, [float(answer.correct) for answer in evidence.answers])
        above = [] if evidence.blind_answers is None else _above_blind(evidence.answers, evidence.blind_answers)
        return [*answers, *above, *_descriptions(evidence.descriptions or ())]


def _scores(answers: Sequence[Answered], values: Sequence[float]) -> list[Score]:
    """Means of the answers' values by kind of question, and the mean of the kinds."""
    scores, parts = [], []
    for kind in KINDS:
        own = [number for number, answer in enumerate(answers) if answer.kind == kind]
        if own:
            protocol = {
                "split": "test",
                "decision": "likeliest of the possible answers",
                "chance": float(np.mean([answers[number].chance for number in own])),
            }
            items = [values[number] for number in own]
            error = clustered(items, [answers[number].image for number in own])
            name, value = f"understanding/{kind}", float(np.mean(items))
            scores.append(Score(name, value, len(items), protocol, items, error, "question"))
            parts.append([value if a.kind == kind else None for a, value in zip(answers, values, strict=True)])
    protocol = {
        "split": "test",
        "mean of": [score.name for score in scores],
        "chance": float(np.mean([score.protocol["chance"] for score in scores])),
    }
    error = clustered_mean(parts, [answer.image for answer in answers])
    mean = float(np.mean([score.value for score in scores]))
    return [*scores, Score("understanding/overall", mean, len(answers), protocol, stderr=error)]


def _above_blind(answers: Sequence[Answered], blind: Sequence[Answered]) -> list[Score]:
    """The same of the answers less the blind ones, question by question; ValueError for other questions."""
    if [(a.kind, a.image) for a in answers] != [(b.kind, b.image) for b in blind]:
        raise ValueError("answers with and without the image pair by question: give those to the same questions")
    gains = [float(a.correct) - float(b.correct) for a, b in zip(answers, blind, strict=True)]
    found = []
    for score in _scores(answers, gains):
        protocol = {**score.protocol, **LESS_BLIND}
        if "mean of" in protocol:
            protocol["mean of"] = [above_blind(part) for part in protocol["mean of"]]
        found.append(score._replace(name=above_blind(score.name), protocol=protocol))
    return found


def _descriptions(descriptions: Sequence[Described]) -> list[Score]:
    """Means over images of how true descriptions are, by kind of fact."""
    found = [truth(described.text, described.scene) for described in descriptions]
    protocol = {"split": "test", "decision": "greedy", "request": REQUEST, "read by": "the grammar of long captions"}
    scores = []
    for kind in Truth._fields:
        items = [None if value is None else float(value) for value in (getattr(facts, kind) for facts in found)]
        own = [item for item in items if item is not None]
        value = float(np.mean(own)) if own else None
        error = clustered(items, range(len(items)))
        scores.append(Score(f"descriptions/{kind}", value, len(own), protocol, items, error, "description"))
    return scores if descriptions else []


class PairedChange(NamedTuple):
    """Accuracy on ``n`` questions before and after, the effect with its interval, and how many answers flipped."""

    n: int
    before: float
    after: float
    effect: float
    low: float
    high: float
    gained: int
    lost: int


def retention(before: Sequence[Answered], after: Sequence[Answered]) -> dict[str, PairedChange]:
    """Change by kind of question, and ``overall``.

    Raises ValueError unless both are answers to the same questions.
    """
    if [(answer.kind, answer.image) for answer in before] != [(answer.kind, answer.image) for answer in after]:
        raise ValueError("answers pair by question: give the answers to the same questions before and after")
    pairs = {
        kind: [(b.correct, a.correct) for b, a in zip(before, after, strict=True) if a.kind == kind] for kind in KINDS
    }
    asked = {kind: own for kind, own in pairs.items() if own}
    changes = {kind: _change(own) for kind, own in asked.items()}
    spread = [_adjusted(own) for own in asked.values()]
    centre = float(np.mean([middle for middle, _ in spread]))
    deviation = float(np.sqrt(sum(deviation**2 for _, deviation in spread))) / len(spread)
    low, high = _interval(centre, deviation)
    before_mean = float(np.mean([change.before for change in changes.values()]))
    after_mean = float(np.mean([change.after for change in changes.values()]))
    n, gained, lost = (sum(getattr(c, name) for c in changes.values()) for name in ("n", "gained", "lost"))
    overall = PairedChange(n, before_mean, after_mean, after_mean - before_mean, low, high, gained, lost)
    return {**changes, "overall": overall}


def _change(pairs: Sequence[tuple[bool, bool]]) -> PairedChange:
    n, (before, after) = len(pairs), (float(np.mean(side)) for side in zip(*pairs, strict=True))
    low, high = _interval(*_adjusted(pairs))
    return PairedChange(n, before, after, after - before, low, high, *_flips(pairs))


def _flips(pairs: Sequence[tuple[bool, bool]]) -> tuple[int, int]:
    return sum(a and not b for b, a in pairs), sum(b and not a for b, a in pairs)


def _adjusted(pairs: Sequence[tuple[bool, bool]]) -> tuple[float, float]:
    """Agresti and Min's estimate and its standard deviation."""
    n, (gained, lost) = len(pairs) + 2, _flips(pairs)
    variance = (gained + lost + 1 - (gained - lost) ** 2 / n) / n**2
    return (gained - lost) / n, float(np.sqrt(variance))


def _interval(centre: float, deviation: float) -> tuple[float, float]:
    z = float(norm.ppf((1 + LEVEL) / 2))
    return max(centre - z * deviation, -1.0), min(centre + z * deviation, 1.0)


def as_result(start: str, frozen: bool, before: Sequence[Answered] | None, after: Sequence[Answered]) -> dict[str, Any]:
    """The ``retention`` of result.json.

    A backbone that did not understand before has nothing to retain (``kinds`` is empty); of a frozen one, whose hash
    was compared, the effect is exactly zero and has no interval.
    """
    changes = {} if before is None else retention(before, after)
    rows = {kind: change._asdict() for kind, change in changes.items()}
    exact = {"low": None, "high": None} if frozen else {}
    return {"start": start, "exact": frozen, "kinds": {kind: row | exact for kind, row in rows.items()}}
