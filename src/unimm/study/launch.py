"""Starts or continues a study: take what is committed, freeze the plan, start workers, who collect what they finish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unimm.study import collect, engines
from unimm.study.freeze import freeze, write_plan
from unimm.study.plan import Plan, Run, read_plan
from unimm.study.queue import Queue, State


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
