"""What generation training did to understanding: the same questions answered before it and after it.

Answers pair by question, so that the effect, after minus before, hangs on the questions whose answer flipped only. With
n questions, of which ``gained`` became right and ``lost`` became wrong, its interval is that of Agresti and Min (2005):
Wald's, with half a question added to each of the four outcomes,

    d = (gained - lost) / (n + 2),   s^2 = (gained + lost + 1 - (gained - lost)^2 / (n + 2)) / (n + 2)^2,   d +- z s,

which keeps its coverage when few answers flip and does not shrink to a point when none does. Overall is the mean of the
kinds, as in the understanding score. The interval is about other questions to the same two models; it says nothing of
other training seeds. Before and after a frozen backbone there is no effect to estimate: it is exactly what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm

from unimm.evaluation.answers import Answered
from unimm.scenes.questions import KINDS

LEVEL = 0.95


class Change(NamedTuple):
    """Accuracy on ``n`` questions before and after, the effect with its interval, and how many answers flipped."""

    n: int
    before: float
    after: float
    effect: float
    low: float
    high: float
    gained: int
    lost: int


def retention(before: Sequence[Answered], after: Sequence[Answered]) -> dict[str, Change]:
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
    overall = Change(n, before_mean, after_mean, after_mean - before_mean, low, high, gained, lost)
    return {**changes, "overall": overall}


def _change(pairs: Sequence[tuple[bool, bool]]) -> Change:
    n, (before, after) = len(pairs), (float(np.mean(side)) for side in zip(*pairs, strict=True))
    low, high = _interval(*_adjusted(pairs))
    return Change(n, before, after, after - before, low, high, *_flips(pairs))


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
