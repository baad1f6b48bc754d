"""Starts or continues a study or a tuning: take what is committed, freeze the plan, start workers, collect.

A plan is frozen in the folder before the first run or trial. Later a study's may grow by amendments, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unimm.config import ABSENT, RunConfig, differing, dump
from unimm.files import write_atomic, write_json
from unimm.runs.record import PLAN
from unimm.study import collect, engines, foundations
from unimm.study.check import refuse_mistakes
from unimm.study.expand import expand_study, expand_tuning
from unimm.study.layout import Unit, config_file
from unimm.study.offered import refuse_equal_options
from unimm.study.plan import PLANNED, Plan, StudyPlan, TuningPlan, has_plan, hashed, is_tuning
from unimm.study.processes import StudyError
from unimm.study.queue import State
from unimm.study.watching import watched
from unimm.study.worker import open_queue


@dataclass(frozen=True)
class Places:
    """The folder of a study or a tuning, and where its results are committed."""

    folder: Path
    reports: Path


def plan_study(study_file: Path, places: Places) -> StudyPlan:
    """The plan of a study file, frozen in its folder; one that was committed goes before a new one."""
    if has_plan(places.reports) and not has_plan(places.folder):
        write_plan(StudyPlan.read(places.reports), places.folder)
    return freeze_study(study_file, places.folder)


def plan_tuning(tuning_file: Path, places: Places) -> TuningPlan:
    """The plan of a tuning file, frozen in its folder; one that was committed goes before a new one.

    Raises:
        ValueError: the file is wrong, another plan is frozen there, or a new one would offer what cannot differ.
    """
    if is_tuning(places.reports) and not has_plan(places.folder):
        write_plan(TuningPlan.read(places.reports), places.folder)
    wanted = expand_tuning(tuning_file)
    if not has_plan(places.folder):
        refuse_equal_options(tuning_file, wanted)
    return freeze_tuning(wanted, places.folder)


def launch(
    plan: StudyPlan | TuningPlan, places: Places, engine: str, workers: int, storage: str | None, ranks: int = 1
) -> Mapping[Unit, State]:
    """Make what is not done yet with `workers` workers and `ranks` a run; returns every unit's state at the end."""
    start = engines.engine(engine)
    collect.adopt(places.reports, places.folder, plan)
    collect.collect(places.folder, plan, places.reports)
    queue = open_queue(places.folder, plan, storage)
    queue.restart()
    if any(state is not State.DONE for state in queue.states().values()):
        command = engines.worker_command(places.folder, places.reports, storage, ranks)
        with watched(places.folder, plan, queue.states):
            start(command, workers, places.folder, ranks)
        collect.collect(places.folder, plan, places.reports)  # why the last ones failed
    return queue.states()


def freeze_study(study_file: Path, folder: Path) -> StudyPlan:
    """The plan of a study file, now the plan of the folder.

    Raises:
        StudyError: a new plan has claims that no run could decide (`unimm.study.check`), or the folder holds a plan
            that the file does not lead to by amendments; says what differs.
    """
    wanted = expand_study(study_file)
    if not has_plan(folder):
        refuse_mistakes(study_file, wanted)
        write_plan(wanted, folder)
        return wanted
    frozen = StudyPlan.read(folder)
    _refuse_another(
        frozen,
        expand_study(study_file, len(frozen.amendments)),
        f"{folder} was planned otherwise than {study_file} says, and a plan is frozen before the first run;\n"
        "restore the file and add an entry to its `amendments`, or choose another --out. They differ in:",
    )
    if not wanted.amended_since(frozen):
        return frozen
    # Arms stay as they were written: an earlier unimm may have planned them with fewer settings.
    plan = hashed(
        replace(
            wanted,
            created=frozen.created,
            arms={**wanted.arms, **frozen.arms},
            foundations=foundations.amended(wanted, frozen),
            code=_code(wanted, frozen),
        )
    )
    write_plan(plan, folder)
    return plan


def _code(wanted: StudyPlan, frozen: StudyPlan) -> dict[str, dict[str, Any]]:
    """Which code froze the plan and each of its amendments; those of before keep theirs, or none."""
    new = range(len(frozen.amendments) + 1, len(wanted.amendments) + 1)
    return frozen.code | {f"amendment {number}": wanted.code[PLANNED] for number in new}


def freeze_tuning(wanted: TuningPlan, folder: Path) -> TuningPlan:
    """Make `wanted` the folder's plan, unless it is already; StudyError says how the one that is there differs."""
    if not has_plan(folder):
        write_plan(wanted, folder)
        return wanted
    frozen = TuningPlan.read(folder)
    _refuse_another(frozen, wanted, f"{folder} was planned otherwise; choose another --out. They differ in:")
    return frozen


def write_plan(plan: Plan, folder: Path) -> None:
    """Write every run's configuration and then `plan.json`: a folder that has a plan has all that workers need.

    Raises:
        ValueError: the present schema reads a planned configuration otherwise than it was planned; names the keys.
    """
    if isinstance(plan, StudyPlan):  # a trial's settings are only known when it is handed out
        _write_configs(plan, folder)
    write_json(folder / PLAN, plan.content())


def _write_configs(plan: StudyPlan, folder: Path) -> None:
    for name, arm in plan.arms.items():
        settings = arm.current
        altered = [change for change in differing(arm.config, settings) if change.before is not ABSENT]
        if altered:
            keys = ", ".join(change.key for change in altered)
            raise StudyError(f"arm {name}: this unimm reads {keys} otherwise than the one that planned; install that")
        config = RunConfig.model_validate({**settings, "seed": plan.seeds[0]})
        for seed in plan.seeds:
            run = plan.unit(name, seed)
            own = {"seed": seed, "foundation": plan.foundation_of(run)}
            write_atomic(config_file(folder, run), dump(config.model_copy(update=own)))


def _refuse_another(frozen: Plan, wanted: Plan, message: str) -> None:
    """StudyError, which begins with `message` and lists the differences, unless both plans mean the same."""
    if frozen.meaning() != wanted.meaning():
        raise StudyError("\n".join([message, *(f"  {line}" for line in frozen.differences(wanted))]))
