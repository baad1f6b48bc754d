"""Choosing settings one after the other, and what the looks could tell apart; no torch, since pages read it too.

Every setting has its turn, with the best of those before it: a full grid would cost the product of their numbers. The
turn's best goes on, the first of equal ones, and the others have lost. A loser that scored the same is a tie. One that
lies behind by less than the standard error of that difference is not resolved: the winner was chosen, and shown to be
better it was not. Both are scored on the same prompts with the same noise, so that the error is that of their paired
differences (`unimm.evaluation.statistics.clustered_mean`), which is smaller than the two scores' own errors suggest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

from unimm.runs.trial_record import Evaluation, Value

SamplingValues = dict[str, Value]


class Look(Protocol):
    """A score, null if it could not be measured, and its standard error."""

    @property
    def value(self) -> float | None: ...

    @property
    def stderr(self) -> float | None: ...

    def difference_stderr(self, other: Self) -> float | None:
        """Standard error of the difference to another look at the same prompts, null where it was not taken."""


AnyLook = TypeVar("AnyLook", bound=Look)


@dataclass(frozen=True)
class Lost:
    """An evaluation that was not chosen in the turn of setting `key`, against the one that was."""

    key: str
    evaluation: Evaluation
    winner: Evaluation

    @property
    def behind(self) -> float | None:
        """How far it lies behind; null where either has no score."""
        if self.evaluation.value is None or self.winner.value is None:
            return None
        return self.winner.value - self.evaluation.value

    @property
    def is_tie(self) -> bool:
        """Whether both scored exactly the same."""
        return self.behind == 0

    @property
    def is_unresolved(self) -> bool:
        """Whether they differ by less than the standard error of their difference; False where that is not known."""
        error = self.evaluation.behind_stderr
        return bool(self.behind) and error is not None and self.behind is not None and self.behind < error


def choose(
    look: Callable[[SamplingValues], AnyLook], own: SamplingValues, options: Mapping[str, Sequence[Value]]
) -> list[Evaluation]:
    """Every evaluation, the arm's own settings first; one setting after the other, and a tie keeps what was first."""
    looks = [look(own)]
    found = [Evaluation(settings=own, value=looks[0].value, stderr=looks[0].stderr)]
    for key, values in options.items():
        best = best_of(found)
        for value in values:
            tried = {**best.settings, key: value}
            if all(tried != evaluation.settings for evaluation in found):
                looks.append(look(tried))
                found.append(Evaluation(settings=tried, value=looks[-1].value, stderr=looks[-1].stderr))
    places = {id(evaluation): place for place, evaluation in enumerate(found)}
    for lost in lost_in_turn(found, list(options)):
        place = places[id(lost.evaluation)]
        error = looks[places[id(lost.winner)]].difference_stderr(looks[place])
        found[place] = lost.evaluation.model_copy(update={"behind_stderr": error})
    return found


def lost_in_turn(evaluations: Sequence[Evaluation], keys: Sequence[str]) -> list[Lost]:
    """Every evaluation but the chosen one, with the setting in whose turn it lost and what it lost against."""
    return [lost for key, best, others in _turns(evaluations, keys) for lost in (Lost(key, e, best) for e in others)]


def _turns(
    evaluations: Sequence[Evaluation], keys: Sequence[str]
) -> Iterator[tuple[str, Evaluation, list[Evaluation]]]:
    """Each setting, the best evaluation of its turn and the others, which differ from it in that setting alone."""
    best = evaluations[0]
    for key in keys:
        rest = {other: value for other, value in best.settings.items() if other != key}
        group = [e for e in evaluations if {k: v for k, v in e.settings.items() if k != key} == rest]
        best = best_of(group)
        yield key, best, [evaluation for evaluation in group if evaluation is not best]


def best_of(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The one with the highest score, the first of equal ones; without a score is worst."""
    return max(evaluations, key=lambda evaluation: -1.0 if evaluation.value is None else evaluation.value)
