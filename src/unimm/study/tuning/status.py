"""How far a tuning is, read from its folder alone: a table of trials, and the end of the log of failed ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unimm.study.processes import is_held
from unimm.study.queue import ATTEMPTS, State
from unimm.study.status import failure
from unimm.study.tuning.layout import failures, lock_file, log_file, record_of
from unimm.study.tuning.plan import Trial, TuningPlan


def states_of(folder: Path, plan: TuningPlan) -> dict[Trial, State]:
    """Every planned trial's state; the folder is the truth, so no database is asked."""
    return {trial: _state(folder, plan, trial) for trial in plan.all_trials}


def describe(folder: Path, plan: TuningPlan, states: Mapping[Trial, State]) -> str:
    """The table, a line of totals, and for failed trials the last lines of their logs."""
    width = max(map(len, plan.arms))
    rows = [
        f"{arm:<{width}}  " + " ".join(f"{states[Trial(arm, number)].value:<7}" for number in range(plan.trials))
        for arm in plan.arms
    ]
    found = list(states.values())
    totals = ", ".join(f"{found.count(state)} {state.value}" for state in State if state in found)
    failed = [trial for trial, state in states.items() if state is State.FAILED]
    return "\n".join(
        [
            *(row.rstrip() for row in rows),
            f"{plan.name}: {totals} of {len(found)} trials",
            *(failure(f"{trial.arm}, trial {trial.number}", log_file(folder, trial)) for trial in failed),
        ]
    )


def _state(folder: Path, plan: TuningPlan, trial: Trial) -> State:
    if is_held(lock_file(folder, trial)):
        return State.RUNNING
    if record_of(folder, plan, trial) is not None:
        return State.DONE
    return State.FAILED if failures(folder, trial) >= ATTEMPTS else State.WAITING
