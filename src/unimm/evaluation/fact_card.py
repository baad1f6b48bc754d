"""A judge's card: what it decides about pictures whose content is known, by kind of fact and by threshold.

A CLIP decides nothing of a picture by itself: its cosines have no threshold. It is asked instead which of two captions
fits better, one that holds and the same with one fact changed, as benchmarks of compositional understanding ask (ARO,
Yuksekgonul et al. 2023, arXiv 2210.01936). It accepts the one with the higher cosine, and neither if they are equal, so
that by kind of fact its accuracy is the share of pairs that it tells apart rightly, 0.5 by chance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from jaxtyping import UInt8
from torch import Tensor

from unimm.analysis.judging import AtThreshold, FactCard, krippendorff_alpha, read_kinds
from unimm.evaluation.judge import SHOWN, SURE, Judge
from unimm.evaluation.labelled import Fact, Labelled
from unimm.scenes.prompts import Metadata

COUNT = "count"


class Tried(NamedTuple):
    """A judge's card, and of every fact whether it accepted it, in order; None where it was not asked."""

    card: FactCard
    accepted: list[bool | None]


class Evaluator(Protocol):
    """What says how well texts fit images."""

    def cosines(
        self, images: UInt8[Tensor, "m 3 height width"], texts: Sequence[str], which: Sequence[int]
    ) -> list[float]:
        """How well each text fits the image of number ``which[i]``."""


def try_judge(judge: Judge, labelled: Labelled, needed: Sequence[str] = ()) -> Tried:
    """The card of a judge; ``needed`` are the kinds of facts that the prompts to be judged ask about.

    Raises:
        ValueError: the labels name what the judge has no word for.
    """
    check_words(judge, labelled)
    accepted: list[bool | None] = [None] * len(labelled.facts)
    swept: dict[float, dict[int, bool]] = defaultdict(dict)
    for facts, images, prompts, which in _of_one_size(labelled):
        for n, sure in zip(facts, judge.fulfilled(images, prompts, which), strict=True):
            accepted[n] = sure >= SURE
        for threshold, decided in judge.swept(images, prompts, which).items():
            swept[threshold] |= zip(facts, decided, strict=True)
    thresholds = [_at(threshold, labelled.facts, decided) for threshold, decided in sorted(swept.items())]
    return Tried(_card(labelled, accepted, needed, thresholds), accepted)


def check_words(judge: Judge, labelled: Labelled) -> None:
    """ValueError where the labels name what the judge has no word for."""
    unknown = judge.unknown([fact.prompt for fact in labelled.facts])
    if unknown:
        named = ", ".join(unknown[:SHOWN])
        raise ValueError(
            f"{judge.name} knows no {named}, which {labelled.source} show: give a judge that does, or take that out of "
            "the labels"
        )


def try_evaluator(evaluator: Evaluator, labelled: Labelled, needed: Sequence[str] = ()) -> Tried:
    """The card of a CLIP: by kind of fact, how often the right caption beats the one with that fact changed.

    Raises:
        ValueError: the labels state no caption of both kinds.
    """
    cosines = [0.0] * len(labelled.facts)
    pairs = labelled.pairs()
    for facts, images, prompts, which in _of_one_size(labelled):
        texts = [str(prompt["prompt"]) for prompt in prompts]
        for n, cosine in zip(facts, evaluator.cosines(images, texts, which), strict=True):
            cosines[n] = cosine
    accepted: list[bool | None] = [None] * len(labelled.facts)
    for right, changed in pairs:
        accepted[right], accepted[changed] = cosines[right] > cosines[changed], cosines[changed] > cosines[right]
    return Tried(_card(labelled, accepted, needed), accepted)


def agreement(tried: Sequence[Tried]) -> float | None:
    """Krippendorff's alpha of judges over the same facts."""
    return krippendorff_alpha([one.accepted for one in tried])


class _Batch(NamedTuple):
    """Pictures of one size, and the facts about them: numbers, prompts, and which of these pictures each is about."""

    facts: list[int]
    images: UInt8[Tensor, "m 3 height width"]
    prompts: list[Metadata]
    which: list[int]


def _of_one_size(labelled: Labelled) -> Iterator[_Batch]:
    sizes: dict[tuple[int, ...], list[int]] = {}
    for number, picture in enumerate(labelled.pictures):
        sizes.setdefault(tuple(picture.shape), []).append(number)
    for numbers in sizes.values():
        place = {number: at for at, number in enumerate(numbers)}
        own = [n for n, fact in enumerate(labelled.facts) if fact.picture in place]
        facts = [labelled.facts[n] for n in own]
        images = torch.stack([labelled.pictures[number] for number in numbers])
        yield _Batch(own, images, [fact.prompt for fact in facts], [place[fact.picture] for fact in facts])


def _card(
    labelled: Labelled,
    accepted: Sequence[bool | None],
    needed: Sequence[str],
    thresholds: Sequence[AtThreshold] = (),
) -> FactCard:
    decided = [
        (fact.kind, fact.true, said) for fact, said in zip(labelled.facts, accepted, strict=True) if said is not None
    ]
    return FactCard(
        source=labelled.source,
        pictures=len(labelled.pictures),
        kinds=read_kinds(decided),
        needed=list(needed),
        thresholds=list(thresholds),
    )


def _at(threshold: float, facts: Sequence[Fact], decided: dict[int, bool]) -> AtThreshold:
    read = read_kinds([(facts[n].kind, facts[n].true, said) for n, said in sorted(decided.items())])
    others = [kind.accuracy for name, kind in read.items() if name != COUNT]
    count = read[COUNT].accuracy if COUNT in read else None
    return AtThreshold(threshold=threshold, count=count, others=sum(others) / len(others) if others else None)
