"""Which foundations a study's arms stand on, as `plan.json` holds them, and whether those that lie here are these.

A name is no foundation: whoever builds one again under its name between two starts of a study would compare arms that
stand on different parts. The plan therefore has the hash of every part, and runs are compared with it. A foundation
that does not lie where the study is planned has no hashes in the plan; its runs are still compared with one another.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from unimm.foundation.card import fingerprints
from unimm.runs.planned import PlannedArm
from unimm.study.processes import StudyError

if TYPE_CHECKING:
    from unimm.study.plan import StudyPlan


def foundations_of(arms: Iterable[PlannedArm]) -> dict[str, dict[str, str]]:
    """Name -> part -> hash of every foundation that arms stand on and that lies here."""
    names = dict.fromkeys(str(arm.config["foundation"]) for arm in arms)
    return {name: parts for name in names if (parts := fingerprints(name))}


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
    known = {str(arm.config["foundation"]) for arm in frozen.arms.values()}
    return frozen.foundations | {name: parts for name, parts in wanted.foundations.items() if name not in known}
