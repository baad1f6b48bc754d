"""Starts or continues a tuning: take what is committed, freeze the plan, start workers, write what was found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unimm.files import write_json
from unimm.study import engines
from unimm.study.launch import Places
from unimm.study.queue import State
from unimm.study.tuning.expand import expand
from unimm.study.tuning.plan import Trial, TuningPlan, freeze, is_tuning, read_tuning_plan
from unimm.study.tuning.trials import Trials
from unimm.study.tuning.worker import adopt, collect


def plan_of(tuning_file: Path, places: Places) -> TuningPlan:
    """The plan of a tuning file, frozen in its folder; one that was committed goes before a new one."""
    if is_tuning(places.reports) and not (places.folder / "plan.json").exists():
        write_json(places.folder / "plan.json", read_tuning_plan(places.reports).content())
    return freeze(expand(tuning_file), places.folder)


def launch(plan: TuningPlan, places: Places, engine: str, workers: int, storage: str | None) -> Mapping[Trial, State]:
    """Make what is not done yet with `workers` workers; returns every trial's state after they ended."""
    start = engines.engine(engine)
    adopt(places.reports, plan, places.folder)
    collect(places.folder, plan, places.reports)
    trials = Trials(places.folder, plan, storage)
    trials.restart()
    if any(state is not State.DONE for state in trials.states().values()):
        start(engines.worker_command(places.folder, places.reports, storage), workers, places.folder)
        collect(places.folder, plan, places.reports)
    return trials.states()
