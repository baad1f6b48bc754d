"""Starts or continues a study: take what is committed, freeze the plan, start workers, who collect what they finish.

Freezes a plan in the study's folder before the first run; later it may grow by amendments and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unimm.config import ABSENT, RunConfig, differing, dump
from unimm.files import write_atomic, write_json
from unimm.study import collect, engines
from unimm.study.expand import expand, hashed
from unimm.study.layout import config_file
from unimm.study.plan import NOT_HASHED, Plan, Run, changes, read_plan
from unimm.study.processes import StudyError
from unimm.study.queue import Queue, State


def freeze(study_file: Path, folder: Path) -> Plan:
    """The plan of a study file, now the plan of the folder.

    Raises:
        StudyError: the folder holds a plan that the file does not lead to by amendments; says what differs.
    """
    wanted = expand(study_file)
    if not (folder / "plan.json").exists():
        write_plan(wanted, folder)
        return wanted
    frozen = read_plan(folder)
    known = expand(study_file, len(frozen.amendments))
    if _meaning(known) != _meaning(frozen):
        raise StudyError(_refusal(study_file, folder, frozen, known))
    if len(wanted.amendments) == len(frozen.amendments):
        return frozen
    # Arms stay as they were written: an earlier unimm may have planned them with fewer settings.
    amended = hashed(replace(wanted, created=frozen.created, arms={**wanted.arms, **frozen.arms}))
    write_plan(amended, folder)
    return amended


def write_plan(plan: Plan, folder: Path) -> None:
    """Write every run's configuration and then `plan.json`: a folder that has a plan has all that workers need.

    Raises:
        ValueError: the present schema reads a planned configuration otherwise than it was planned; names the keys.
    """
    for name, arm in plan.arms.items():
        settings = arm.current
        altered = [change for change in differing(arm.config, settings) if change.before is not ABSENT]
        if altered:
            keys = ", ".join(change.key for change in altered)
            raise StudyError(f"arm {name}: this unimm reads {keys} otherwise than the one that planned; install that")
        config = RunConfig.model_validate({**settings, "seed": plan.seeds[0]})
        for run in plan.runs:
            if run.arm == name:
                write_atomic(config_file(folder, run), dump(config.model_copy(update={"seed": run.seed})))
    write_json(folder / "plan.json", plan.content())


def _meaning(plan: Plan) -> dict[str, Any]:
    """What was planned, every arm as the present schema reads it."""
    arms = {name: {"file": arm.file, "config": arm.current} for name, arm in plan.arms.items()}
    return {key: value for key, value in plan.content().items() if key not in NOT_HASHED} | {"arms": arms}


def _refusal(study_file: Path, folder: Path, frozen: Plan, known: Plan) -> str:
    lines = [f"  {line}" for line in changes(_meaning(frozen), _meaning(known))]
    return "\n".join(
        [
            f"{folder} was planned otherwise than {study_file} says, and a plan is frozen before the first run;",
            "restore the file and add an entry to its `amendments`, or choose another --out. They differ in:",
            *lines,
        ]
    )


@dataclass(frozen=True)
class Places:
    """A study's folder, and where its results are committed."""

    folder: Path
    reports: Path


def plan_of(study_file: Path, places: Places) -> Plan:
    """The plan of a study file, frozen in its folder; one that was committed goes before a new one."""
    committed = (places.reports / "plan.json").exists()
    if committed and not (places.folder / "plan.json").exists():
        write_plan(read_plan(places.reports), places.folder)
    return freeze(study_file, places.folder)


def launch(plan: Plan, places: Places, engine: str, workers: int, storage: str | None) -> Mapping[Run, State]:
    """Run what is not done yet with `workers` workers; returns every run's state after they ended."""
    start = engines.engine(engine)
    collect.adopt(places.reports, places.folder, plan)
    collect.collect(places.folder, plan, places.reports)
    queue = Queue(places.folder, plan, storage)
    queue.restart()
    if any(state is not State.DONE for state in queue.states().values()):
        start(engines.worker_command(places.folder, places.reports, storage), workers, places.folder)
    return queue.states()
