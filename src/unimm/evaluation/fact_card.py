"""A judge's card: what it decides about pictures whose content is known, by kind of fact and by threshold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from unimm.analysis.judging import AtThreshold, FactCard, krippendorff_alpha, read_kinds
from unimm.evaluation.judge import SHOWN, SURE, Judge
from unimm.evaluation.labelled import Fact, Labelled

COUNT = "count"


class Tried(NamedTuple):
    """A judge's card, and of every fact whether it accepted it, in order."""

    card: FactCard
    accepted: list[bool]


def try_judge(judge: Judge, labelled: Labelled, needed: Sequence[str] = ()) -> Tried:
    """The card of a judge; ``needed`` are the kinds of facts that the prompts to be judged ask about.

    Raises:
        ValueError: the labels name what the judge has no word for.
    """
    unknown = judge.unknown([fact.prompt for fact in labelled.facts])
    if unknown:
        raise ValueError(f"{judge.name} knows no {', '.join(unknown[:SHOWN])}, which {labelled.source} show")
    accepted = [False] * len(labelled.facts)
    swept: dict[float, dict[int, bool]] = defaultdict(dict)
    for numbers in _of_one_size(labelled):
        images = torch.stack([labelled.pictures[number] for number in numbers])
        place = {number: at for at, number in enumerate(numbers)}
        own = [n for n, fact in enumerate(labelled.facts) if fact.picture in place]
        prompts = [labelled.facts[n].prompt for n in own]
        which = [place[labelled.facts[n].picture] for n in own]
        for n, sure in zip(own, judge.fulfilled(images, prompts, which), strict=True):
            accepted[n] = sure >= SURE
        for threshold, decided in judge.swept(images, prompts, which).items():
            swept[threshold] |= zip(own, decided, strict=True)
    facts = labelled.facts
    card = FactCard(
        source=labelled.source,
        pictures=len(labelled.pictures),
        kinds=read_kinds([(fact.kind, fact.true, said) for fact, said in zip(facts, accepted, strict=True)]),
        needed=list(needed),
        thresholds=[_at(threshold, facts, decided) for threshold, decided in sorted(swept.items())],
    )
    return Tried(card, accepted)


def agreement(tried: Sequence[Tried]) -> float | None:
    """Krippendorff's alpha of judges over the same facts."""
    return krippendorff_alpha([one.accepted for one in tried])


def _of_one_size(labelled: Labelled) -> Iterable[list[int]]:
    """Numbers of pictures that go into one batch."""
    sizes: dict[tuple[int, ...], list[int]] = {}
    for number, picture in enumerate(labelled.pictures):
        sizes.setdefault(tuple(picture.shape), []).append(number)
    return sizes.values()


def _at(threshold: float, facts: Sequence[Fact], decided: dict[int, bool]) -> AtThreshold:
    read = read_kinds([(facts[n].kind, facts[n].true, said) for n, said in sorted(decided.items())])
    others = [kind.accuracy for name, kind in read.items() if name != COUNT]
    count = read[COUNT].accuracy if COUNT in read else None
    return AtThreshold(threshold=threshold, count=count, others=sum(others) / len(others) if others else None)
