"""What changed between a frozen plan and the amended one that a study file leads to: entries, runs, and the code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from unimm.runs.code import Code
from unimm.study.plan import PLANNED, StudyPlan


def changes(frozen: StudyPlan, amended: StudyPlan, now: Mapping[str, Any]) -> list[str]:
    """A line for everything that changed.

    Args:
        frozen: the plan before.
        amended: the plan with the file's amendments, which may be none.
        now: the code that amends, by package.
    """
    new = amended.amendments[len(frozen.amendments) :]
    lines = [f"{entry['date']}: {entry['change']} ({entry['reason']})" for entry in new]
    if new:
        lines.append(
            f"{len(amended.units) - len(frozen.units)} more runs, {len(amended.units)} in all; plan {amended.hash}"
        )
        lines.append("claims that they touch are no longer fixed beforehand, which the report says")
    else:
        lines.append(f"nothing new: the plan has {len(frozen.amendments)} amendments, and the file no others")
    return [*lines, *_code(frozen, now)]


def _code(frozen: StudyPlan, now: Mapping[str, Any]) -> Iterator[str]:
    """How the code differs from that which froze the plan, or amended it last."""
    if not frozen.code:
        yield "code: the plan does not say what froze it"
        return
    when = list(frozen.code)[-1]
    before = frozen.code[when]
    what = "the plan" if when == PLANNED else when
    for name in dict.fromkeys((*before, *now)):
        old, new = (Code.model_validate(code[name]) if name in code else None for code in (before, now))
        if old is None or new is None or old.files != new.files:
            yield f"code: {name} is {new or 'not used'}, and was {old or 'not used'} at {what}"
        else:
            yield f"code: {name} is that of {what}, {new}"
