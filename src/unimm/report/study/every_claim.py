"""Guards of every claim, named in it or not: what a study rests on whatever it says. Old frozen claims have them too.

    runs_count       no finished run of the claim's arms was refused as off plan, damaged or copied
    judge_card       the judge or CLIP that the claim's score is by was tried on pictures of known content, and passes
    same_foundation  in all runs that are to stand on the same foundation, as their arm's configuration names it or as
                     it was dealt to their seed, every part that training leaves alone has the same hash, and the world
                     is the same; foundations that are dealt to seeds have one world and the same models that judge

Parts are what `hashes` of `result.json` lists beside the trained weights. An arm's own encoder that is no part of the
foundation is compared only among arms that configure it alike. Arms that name another foundation differ on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import JsonValue

from unimm.analysis.claims import Claim, Invariant
from unimm.analysis.judging import failures
from unimm.evaluation.words import EVALUATORS, card_of
from unimm.foundation.card import is_judging
from unimm.report.study.folder import Study, StudyRun

TRAINED = ("head", "backbone")
OWN = "latents"  # an encoder's, at the arm's resolution
WORLD = "world"
NAMED = 4
Run = TypeVar("Run")
Parts = Mapping[str, JsonValue]


def arms_of(claim: Claim) -> list[str]:
    """The arms that a claim names, in its order."""
    return list(dict.fromkeys(name for _, kind, name in claim.references() if kind == "arms"))


def runs_count(study: Study, claim: Claim) -> str | None:
    """Which runs of the claim's arms do not count, and why."""
    arms = arms_of(claim)
    refused = [f"{arm} seed {seed} ({reason})" for (arm, seed), reason in study.refused.items() if arm in arms]
    return shortened("runs that do not count: ", refused) if refused else None


def judge_card(study: Study, claim: Claim) -> str | None:
    """Why what made the scores that decide a claim cannot be believed; the scenes' judge has a guard of its own."""
    judge = None if isinstance(claim, Invariant) else card_of(claim.metric)
    if judge is None:
        return None
    for arm in arms_of(claim):
        for seed, run in study.runs[arm].items():
            card = run.result.judge_cards.get(judge)
            if card is None:
                mend = "score its runs again" if judge in EVALUATORS.values() else "set evaluation.judge_labels"
                return f"{judge} was not tried on pictures whose content is known; {mend}"
            if wrong := failures(card):
                return f"{judge} fails its card ({'; '.join(wrong)}) in {arm} seed {seed}"
    return None


def named_runs(runs: Mapping[str, Mapping[int, Run]], claim: Claim) -> Iterable[tuple[str, Run]]:
    """Every run of the claim's arms, with its name."""
    return ((f"{arm}, seed {seed}", run) for arm in arms_of(claim) for seed, run in runs[arm].items())


def shortened(head: str, names: list[str]) -> str:
    """The first of several names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{head}{', '.join(names[:NAMED])}{more}"


def same_foundation(study: Study, claim: Claim) -> str | None:
    """Which part differs within an arm or between two arms of a claim, foundation by foundation."""
    on: dict[str, dict[str, dict[int, Parts]]] = {}
    for arm in arms_of(claim):
        for seed, run in study.runs[arm].items():
            own = on.setdefault(study.plan.foundation_of(arm, seed), {})
            own.setdefault(arm, {})[seed] = _parts(run)
    for arms in on.values():
        for arm, runs in arms.items():
            seeds = {f"seed {seed} of {arm}": parts for seed, parts in runs.items()}
            if found := _difference(seeds, dict.fromkeys(part for parts in runs.values() for part in parts)):
                return found
        if found := _between(study, {arm: next(iter(runs.values())) for arm, runs in arms.items()}):
            return found
    if not study.plan.dealt or not on:
        return None
    first = {name: next(iter(next(iter(arms.values())).values())) for name, arms in on.items()}
    judging = dict.fromkeys(part for parts in first.values() for part in parts if part == WORLD or is_judging(part))
    return _difference(first, judging)


def _between(study: Study, parts: Mapping[str, Parts]) -> str | None:
    """Which part differs between arms on one foundation, given one run's parts of each; each arm's runs agree."""
    for part in dict.fromkeys(name for own in parts.values() for name in own if name != OWN):
        arms = list(parts)
        groups = _by_encoder(study, [arm for arm in arms if part in parts[arm]]) if _is_own(study, part) else [arms]
        for group in groups:
            if found := _difference({arm: parts[arm] for arm in group}, [part]):
                return found
    return None


def _is_own(study: Study, part: str) -> bool:
    """Whether exactly those arms of the study have `part` whose encoder it is, so that it may be no foundation's."""
    found = {arm: part in _parts(study.finished(arm)[0]) for arm in study.plan.arms if study.finished(arm)}
    return all(has == (study.plan.arms[arm].component("encoder") == part) for arm, has in found.items())


def _by_encoder(study: Study, arms: list[str]) -> list[list[str]]:
    """The arms in groups of equal settings of their encoder."""
    alike: dict[str, list[str]] = {}
    for arm in arms:
        alike.setdefault(repr(sorted(study.plan.arms[arm].config["encoder"].items())), []).append(arm)
    return list(alike.values())


def _parts(run: StudyRun) -> Parts:
    """Part -> hash of everything that training left alone, and the world."""
    return {WORLD: run.result.world} | {k: v for k, v in run.result.hashes.items() if k not in TRAINED}


def _difference(holders: Mapping[str, Parts], names: Iterable[str]) -> str | None:
    """The first of these parts that is not the same everywhere, with the first two who differ in it."""
    first, *others = holders
    for name in names:
        value = holders[first].get(name)
        for other in others:
            if holders[other].get(name) != value:
                ends = [f"{_short(holders[who].get(name))} in {who}" for who in (first, other)]
                return f"{name} is {' and '.join(ends)}"
    return None


def _short(value: JsonValue) -> str:
    return "absent" if value is None else str(value)[:16]
