"""Whether a judge can be believed: its card on pictures whose content is known, and how far two judges agree.

A judge is asked of each picture about facts that hold and as many that do not. By kind of fact (object, count, colour,
relation; prompt: whole prompts that people decided) it misses some that hold and finds some that do not. Its accuracy
is the mean of the shares that it decided rightly on either side: 0.5 for one that guesses or always says the same. It
passes with 0.8 for every kind that the prompts ask about, on ten facts of either side: GenEval's own detector agrees
with people on 83 % of images (Ghosh et al. 2023), and one that guesses gets 16 of 20 in 6 cards of 1,000.

Krippendorff's alpha, for labels without order: 1 - D_o / D_e, the disagreement of units' pairs of ratings over that of
all ratings paired at random; 1 is perfect, 0 chance (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Sequence

from pydantic import BaseModel, ConfigDict

PASSES, ENOUGH = 0.8, 10
WHOLE = "prompt"


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class KindRead(_Part):
    """Facts of one kind: how many hold (`true`), of these `accepted`; how many do not (`false`), of these `found`."""

    true: int
    accepted: int
    false: int
    found: int

    @property
    def missed(self) -> float:
        """Share of what is there that was not seen."""
        return 1 - self.accepted / self.true if self.true else float("nan")

    @property
    def false_finds(self) -> float:
        """Share of what is not there that was seen."""
        return self.found / self.false if self.false else float("nan")

    @property
    def accuracy(self) -> float:
        """Mean of the shares right among facts that hold and among those that do not."""
        return 1 - (self.missed + self.false_finds) / 2


class AtThreshold(_Part):
    """Accuracy, mean over kinds, if what is no surer than ``threshold`` does not count; apart for counts."""

    threshold: float
    count: float | None
    others: float | None


class FactCard(_Part):
    """A judge on pictures of known content; ``source`` says which, ``needed`` are kinds that prompts ask about."""

    source: str
    pictures: int
    kinds: dict[str, KindRead]
    needed: list[str] = []
    thresholds: list[AtThreshold] = []


def failures(card: FactCard) -> list[str]:
    """Why the card is not passed, a few words each; none if it is."""
    whole = [WHOLE] if WHOLE in card.kinds else []  # which says something of every kind
    asked = [kind for kind in card.needed if kind in card.kinds or not whole]
    asked = list(dict.fromkeys([*asked, *whole])) if card.needed else list(card.kinds)
    return [found for kind in asked if (found := _failure(card, kind))]


def _failure(card: FactCard, kind: str) -> str | None:
    read = card.kinds.get(kind)
    if read is None:
        return f"not tried on {kind}"
    if min(read.true, read.false) < ENOUGH:
        return f"tried on {read.true} true and {read.false} false facts of kind {kind}, fewer than {ENOUGH}"
    if read.accuracy < PASSES:
        return f"{kind} {read.accuracy:.2f}"
    return None


def read_kinds(decided: Collection[tuple[str, bool, bool]]) -> dict[str, KindRead]:
    """What was decided (kind, whether the fact holds, whether it was accepted) by kind."""
    counts = Counter(decided)
    return {
        kind: KindRead(
            true=counts[kind, True, True] + counts[kind, True, False],
            accepted=counts[kind, True, True],
            false=counts[kind, False, True] + counts[kind, False, False],
            found=counts[kind, False, True],
        )
        for kind in dict.fromkeys(kind for kind, _, _ in decided)
    }


def krippendorff_alpha(ratings: Sequence[Sequence[Hashable | None]]) -> float | None:
    """Alpha of ratings, `[judges][units]`, None where one is missing; None if fewer than two labels were ever paired.

    Raises:
        ValueError: judges rated different numbers of units.
    """
    if len({len(own) for own in ratings}) > 1:
        raise ValueError("judges rated different numbers of units: give None where one did not rate")
    units = [[rating for rating in unit if rating is not None] for unit in zip(*ratings, strict=True)]
    pairable = [Counter(unit) for unit in units if len(unit) > 1]
    totals: Counter[Hashable] = sum(pairable, Counter())
    n = totals.total()
    if len(totals) < 2:
        return None
    observed = sum((unit.total() ** 2 - sum(k**2 for k in unit.values())) / (unit.total() - 1) for unit in pairable)
    expected = (n**2 - sum(k**2 for k in totals.values())) / (n - 1)
    return 1 - observed / expected
