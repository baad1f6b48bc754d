"""What was fixed before the numbers of an import were read: claims and pairing, frozen in `plan.json` of its folder.

Whoever has seen scores can choose claims, and pair or not, until something is found. unimm cannot know what its user
has seen, but it can keep what was chosen first: the plan is written before the table is opened, with its hash and the
time, and another choice needs another folder.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from unimm.analysis.claims import Claims
from unimm.files import read_object, write_json
from unimm.runs.planned import PLAN_VERSION, plan_hash, why_no_frozen_plan
from unimm.runs.record import PLAN

KIND, SCORES = "table", "scores.csv"
RESTORE = "restore it, or import the table into another folder"


@dataclass(frozen=True)
class ImportPlan:
    """`plan.json` of an import: the claims file, where the numbers hold, and `seed` if all arms are paired by it."""

    name: str
    created: str
    claims: dict[str, Any]
    pair_by: str | None
    setting: str
    hash: str = ""
    schema_version: int = PLAN_VERSION
    kind: str = KIND

    def decided(self) -> Claims:
        """The claims as they are decided: with pairing by seed where that was chosen for all."""
        claims = Claims.model_validate(self.claims)
        return claims if self.pair_by is None else claims.paired_by_seed()


def freeze(folder: Path, claims: Claims, pair_by: str | None, setting: str) -> ImportPlan:
    """Write the plan into a new or empty folder, or find it there as it was written before.

    A plan whose table could never be read may still be changed: nobody has seen a number.

    Raises:
        ValueError: the folder holds something else, or scores and a plan with other claims, pairing or setting.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    content = json.loads(claims.model_dump_json(exclude_unset=True))
    plan = ImportPlan(folder.resolve().name, now, content, pair_by, setting)
    plan = replace(plan, hash=plan_hash(asdict(plan)))
    if (folder / PLAN).is_file():
        before = read(folder)
        changed = [key for key in ("claims", "pair_by", "setting") if getattr(before, key) != getattr(plan, key)]
        if not changed:
            return before
        if (folder / SCORES).exists():
            raise ValueError(
                f"{folder} was planned on {before.created} with other {' and '.join(changed)}, before its scores were "
                "read; what is chosen after a look is another study: give another --out"
            )
    elif folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds files and no plan of an import: give a new or empty --out")
    write_json(folder / PLAN, asdict(plan))
    return plan


def read(folder: Path) -> ImportPlan:
    """The plan in a folder; ValueError where it was edited or is none."""
    path = folder / PLAN
    content = read_object(path, RESTORE)
    if problem := why_no_frozen_plan(content, path, RESTORE):
        raise ValueError(problem)
    try:
        return ImportPlan(**content)
    except TypeError as error:
        raise ValueError(f"{path} is no plan of an import ({error}): {RESTORE}") from error
