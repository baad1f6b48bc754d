"""Hands out a tuning's trials and asks Optuna for their settings: one Optuna study an arm, all with the same sampler.

A claim happens under the gate, a lock of the tuning's folder: tell Optuna what has finished, take the first trial of
the plan that waits, ask for its settings and write them down, lock the trial, open the gate. The folder is the truth:
a trial is done if its `trial.json` is there, it runs while its lock is held, and settings once written are kept, so
that whatever is killed at whatever moment goes on as it was; the database can be rebuilt from committed records.

Trial 0 is the arm as it stands, which Optuna is not told: an arm may leave a searched setting to a formula. A trial
that fails three times is spent, and Optuna takes it as worse than any other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from unimm.files import write_json
from unimm.runs.trial_record import TrialSettings
from unimm.study.database import database_url, open_storage, using
from unimm.study.layout import ATTEMPTS, FORGIVEN, PlannedTrial, Unit, failures, lock_file, log_file, settings_file
from unimm.study.plan import TuningPlan
from unimm.study.processes import Crashed, Lock, Stopped, is_held
from unimm.study.queue import Execute, Queue, QueueStep, State

DIGITS = 4
DATABASE = "tuning.db"
NUMBER = "number"


class TrialQueue(Queue):
    """The trials of the tuning in `folder`, their history in SQLite there or at the database URL `storage`."""

    def __init__(self, folder: Path, plan: TuningPlan, storage: str | None) -> None:
        self.folder, self.plan = folder, plan
        self.gate = Lock(folder / "locks" / "tuning.lock")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.url = database_url(folder / DATABASE, storage)
        with using(self.url), self.gate:
            database = open_storage(folder / DATABASE, storage, heartbeat=False)  # locks say what runs
            self.studies = {
                arm: optuna.create_study(
                    study_name=f"{plan.name} {plan.created} {arm}",
                    storage=database,
                    direction="maximize",
                    load_if_exists=True,
                )
                for arm in plan.arms
            }

    def states(self) -> dict[Unit, State]:
        """Every planned trial's state."""
        return trial_states(self.folder, self.plan)

    def restart(self) -> None:
        """Give trials that were given up new attempts."""
        with self.gate:
            for trial, state in self.states().items():
                if state is State.FAILED:
                    with log_file(self.folder, trial).open("a", encoding="utf-8") as log:
                        log.write(FORGIVEN)

    def work_one(self, execute: Execute) -> QueueStep:
        """Claim one trial and execute it."""
        with using(self.url), self.gate:
            states = self._tell()
            trial = next((trial for trial, state in states.items() if state is State.WAITING), None)
            if trial is None:
                return QueueStep.OTHERS_WORK if State.RUNNING in states.values() else QueueStep.FINISHED
            self._settle(trial)
            lock = Lock(lock_file(self.folder, trial))
            if not lock.acquire(wait=False):  # somebody looks at it: it comes back
                return QueueStep.OTHERS_WORK
        try:
            assert lock.descriptor is not None
            execute(trial, failures(self.folder, trial) + 1, lock.descriptor)
        except (Crashed, Stopped):
            pass
        finally:
            lock.release()
        return QueueStep.WORKED

    def _tell(self) -> dict[Unit, State]:
        """Tell Optuna what has finished since somebody looked; returns the states."""
        states = self.states()
        for arm, study in self.studies.items():
            known: dict[int, FrozenTrial] = {}
            for asked in study.get_trials(deepcopy=False):
                if NUMBER in asked.user_attrs:
                    known[int(asked.user_attrs[NUMBER])] = asked
                elif asked.state is TrialState.RUNNING:  # whoever asked was killed before it wrote the number
                    study.tell(asked.number, state=TrialState.FAIL)
            for number in range(1, self.plan.trials):
                self._tell_one(study, PlannedTrial(arm, number), states[PlannedTrial(arm, number)], known.get(number))
        return states

    def _tell_one(self, study: optuna.Study, trial: Unit, state: State, asked: FrozenTrial | None) -> None:
        running = asked is not None and asked.state is TrialState.RUNNING
        record = self.plan.record_of(self.folder, trial) if state is State.DONE else None
        value = None if record is None else record.value
        if asked is not None and running and value is not None:
            study.tell(asked.number, value)
        elif asked is not None and running and state in (State.DONE, State.FAILED):
            study.tell(asked.number, state=TrialState.PRUNED)
        elif asked is None and record is not None:  # made on another machine
            study.add_trial(
                optuna.create_trial(
                    state=TrialState.PRUNED if value is None else TrialState.COMPLETE,
                    params=dict(record.settings.params),
                    distributions=self._distributions(trial.arm),
                    value=value,
                    user_attrs={NUMBER: trial.number},
                )
            )

    def _settle(self, trial: Unit) -> None:
        """Write the trial's settings down, unless they are."""
        path = settings_file(self.folder, trial)
        if path.exists():
            return
        params = self._ask(trial) if trial.number else {}
        settings = TrialSettings(
            plan=self.plan.hash,
            arm=trial.arm,
            number=trial.number,
            config=self.plan.config(trial.arm, params),
            params=params,
            by_sampling=self.plan.by_sampling_of(trial.arm),
            metric=self.plan.metric,
        )
        write_json(path, settings.model_dump(mode="json"))

    def _ask(self, trial: Unit) -> dict[str, Any]:
        """Settings from Optuna: those that were asked for before, or new ones."""
        study = self.studies[trial.arm]
        for asked in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if asked.user_attrs.get(NUMBER) == trial.number:
                return self._rounded(asked.params)
        # A sampler of its own for every trial: one that went on from process to process would repeat itself.
        study.sampler = _sampler(self.plan.sampler, trial.number)
        new = study.ask(self._distributions(trial.arm))
        new.set_user_attr(NUMBER, trial.number)
        return self._rounded(new.params)

    def _rounded(self, params: dict[str, Any]) -> dict[str, Any]:
        """Real numbers with a few digits, as people write them, inside their range."""
        rounded = dict(params)
        for key, value in params.items():
            if isinstance(value, float) and "low" in self.plan.space[key]:
                low, high = self.plan.space[key]["low"], self.plan.space[key]["high"]
                rounded[key] = min(max(float(f"{value:.{DIGITS}g}"), low), high)
        return rounded

    def _distributions(self, arm: str) -> dict[str, BaseDistribution]:
        return {key: _distribution(entry) for key, entry in self.plan.space_of(arm).items()}


def trial_states(folder: Path, plan: TuningPlan) -> dict[Unit, State]:
    """Every planned trial's state; the folder is the truth, so no database is asked."""
    return {trial: _state(folder, plan, trial) for trial in plan.units}


def _state(folder: Path, plan: TuningPlan, trial: Unit) -> State:
    if is_held(lock_file(folder, trial)):
        return State.RUNNING
    if plan.is_done(folder, trial):
        return State.DONE
    return State.FAILED if failures(folder, trial) >= ATTEMPTS else State.WAITING


def _distribution(entry: dict[str, Any]) -> BaseDistribution:
    if "choices" in entry:
        return CategoricalDistribution(entry["choices"])
    return FloatDistribution(entry["low"], entry["high"], log=entry["log"])


def _sampler(settings: dict[str, Any], number: int) -> BaseSampler:
    """The same for every arm; the draws of trials differ."""
    seed = settings["seed"] * 10_007 + number
    if settings["name"] == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=settings["startup"], multivariate=True, constant_liar=True)
