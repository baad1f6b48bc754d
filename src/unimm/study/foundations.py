"""Which foundations a study's arms stand on, as `plan.json` holds them, and whether those that lie here are these.

A name is no foundation: whoever builds one again under its name between two starts of a study would compare arms that
stand on different parts. The plan therefore has the hash of every part, and runs are compared with it. A foundation
that does not lie where the study is planned has no hashes in the plan; its runs are still compared with one another.

Foundations that a study deals to its seeds have to be draws of one kind: of one world and judged by the same models,
and other parts each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unimm.config import differing
from unimm.files import read_object
from unimm.foundation.card import CARD, MEND, find, fingerprints, is_judging
from unimm.runs.planned import PlannedArm
from unimm.strict_yaml import read_yaml
from unimm.study.processes import StudyError

if TYPE_CHECKING:
    from unimm.study.plan import StudyPlan


def foundations_of(arms: Iterable[PlannedArm], dealt: Iterable[str] = ()) -> dict[str, dict[str, str]]:
    """Name -> part -> hash of every foundation that arms stand on, or seeds are dealt, and that lies here."""
    names = dict.fromkeys([*(str(arm.config["foundation"]) for arm in arms), *dealt])
    return {name: parts for name in names if (parts := fingerprints(name))}


def deal(path: Path, arms: Mapping[str, PlannedArm], foundations: Sequence[str]) -> dict[str, PlannedArm]:
    """The arms of the study file `path` on the first of the foundations that its seeds are dealt.

    Raises:
        StudyError: an arm's own file chooses a foundation, or the foundations that lie here are not draws of one kind.
    """
    for name, arm in arms.items():
        if "foundation" in read_yaml(path.parent / arm.file):
            raise StudyError(f"{path}: foundations: drop foundation from {arm.file}, or give {name} a study of its own")
    _refuse_unlike(path, {name: parts for name in foundations if (parts := fingerprints(name))})
    return {name: arm.on(foundations[0]) for name, arm in arms.items()}


def _refuse_unlike(path: Path, parts: Mapping[str, Mapping[str, str]]) -> None:
    """StudyError where scores on two foundations, given with the hashes of their parts, do not compare."""
    for (a, ours), (b, theirs) in combinations(parts.items(), 2):
        for key, first, second in differing(_kind(a), _kind(b)):
            raise StudyError(f"{path}: foundations: {key} is {first} in {a} and {second} in {b}: no draws of one kind")
        judges = sorted(part for part in ours if is_judging(part) and theirs.get(part) != ours[part])
        if judges:
            raise StudyError(f"{path}: foundations: {', '.join(judges)} of {a} and {b} are not the same models")
        if ours == theirs:
            raise StudyError(f"{path}: foundations: {a} and {b} have the same parts and are one draw; leave one out")


def _kind(name: str) -> dict[str, Any]:
    """What draws have in common, of the card of the foundation of that name."""
    card = read_object(find(name) / CARD, MEND)
    return {
        "world": card["world"],
        "questions": card.get("questions", "by_scene"),
        "resolution": card["resolution"],
    }


def refuse_rebuilt(plan: StudyPlan) -> None:
    """StudyError where a foundation that lies here is not the one that the plan names: runs on it would not count."""
    for name, planned in plan.foundations.items():
        here = fingerprints(name)
        changed = sorted(part for part in here.keys() | planned if here.get(part) != planned.get(part))
        if here and changed:
            raise StudyError(
                f"the foundation {name!r} is not the one that {plan.name} was planned with: {', '.join(changed)} have "
                "other hashes; bring that one back, or plan the study anew with another --out and --collect"
            )


def amended(wanted: StudyPlan, frozen: StudyPlan) -> dict[str, dict[str, str]]:
    """What an amended plan has: those of frozen arms as they were frozen, or none, and those of new arms besides."""
    known = {*frozen.dealt, *(str(arm.config["foundation"]) for arm in frozen.arms.values())}
    return frozen.foundations | {name: parts for name, parts in wanted.foundations.items() if name not in known}
