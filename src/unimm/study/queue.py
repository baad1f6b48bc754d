"""What hands out units of work; and the queue of a study, an Optuna study with one trial an attempt.

The run folders are the truth; the value of a finished trial is the run's first claimed score, for people who look at
the database (`optuna-dashboard`). A claim happens under the gate, a lock of the study's folder: enqueue the first run
of the plan that waits, take its trial, lock the run, open the gate. So runs come in the plan's order whatever was
interrupted, the queue never holds a run twice, and a trial that is RUNNING while nobody holds its run's lock was left
by a worker that died: its run goes back at once. Optuna's heartbeat marks such trials failed after a while; it is slow
on purpose, because one that is too quick fails live trials (optuna#4234). A crash is tried again twice, but for one
that says that it would be repeated (exit code 2); a stop costs no attempt.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import Enum, StrEnum
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from unimm.evaluation.words import Glossary
from unimm.study.database import database_url, open_storage, using
from unimm.study.layout import ATTEMPTS, PlannedRun, Unit, lock_file
from unimm.study.plan import StudyPlan
from unimm.study.processes import Crashed, Lock, Refused, Stopped, is_held

DATABASE = "queue.db"
Execute = Callable[[Unit, int, int], None]


class QueueStep(Enum):
    """What a worker found in the queue."""

    WORKED = "worked"
    OTHERS_WORK = "others work"
    FINISHED = "finished"


class State(StrEnum):
    """Where a run stands."""

    DONE = "done"
    RUNNING = "running"
    WAITING = "waiting"
    FAILED = "failed"


class Queue(ABC):
    """Hands out the units of a plan to workers, which may be many, on several machines, and die at any moment."""

    @abstractmethod
    def states(self) -> dict[Unit, State]:
        """Every planned unit's state."""

    @abstractmethod
    def restart(self) -> None:
        """Give units that were given up new attempts: whoever starts again wants them."""

    @abstractmethod
    def work_one(self, execute: Execute) -> QueueStep:
        """Claim one unit and execute it.

        `execute(unit, attempt, lock)` gets the descriptor of the unit's lock for its child to inherit, and raises
        Crashed or Stopped.
        """


class RunQueue(Queue):
    """The queue of the study in `folder`, in SQLite there or at the database URL `storage`."""

    def __init__(self, folder: Path, plan: StudyPlan, storage: str | None) -> None:
        self.folder, self.plan = folder, plan
        self.gate = Lock(folder / "locks" / "queue.lock")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.url = database_url(folder / DATABASE, storage)
        with using(self.url), self.gate:  # two workers that create the tables at once fail
            # The time of planning tells apart studies of one name that share a database.
            name, database = f"{plan.name} {plan.created}", open_storage(folder / DATABASE, storage)
            lower = Glossary()[plan.headline].lower_is_better
            better = StudyDirection.MINIMIZE if lower else StudyDirection.MAXIMIZE
            self.study = optuna.create_study(study_name=name, storage=database, direction=better, load_if_exists=True)
            self._name_score()
        self._seen_done: set[Unit] = set()

    def _name_score(self) -> None:
        """Say, to who looks at the database, what its values are."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            if self.study.metric_names is None:
                self.study.set_metric_names([self.plan.headline])

    def states(self) -> dict[Unit, State]:
        """Every planned run's state."""
        with using(self.url):
            last = self._last_trials()
            return {run: self._state(run, last) for run in self.plan.units}

    def restart(self) -> None:
        """Give runs that were given up new attempts."""
        with using(self.url), self.gate:
            last = self._last_trials()
            for run in self.plan.units:
                if self._state(run, last) is State.FAILED:
                    forgiven = {"run": str(run), "attempt": 1}
                    self.study.add_trial(optuna.create_trial(state=TrialState.FAIL, user_attrs=forgiven))

    def work_one(self, execute: Execute) -> QueueStep:
        """Claim one run and execute it."""
        with using(self.url), self.gate:
            waits = self._offer()
            if not waits:  # a last look at all of them: a result may have been deleted
                self._seen_done.clear()
                waits = self._offer()
            if waits:
                self.study.optimize(self._objective(execute), n_trials=1, catch=(Crashed, Stopped))
                return QueueStep.WORKED
            return QueueStep.OTHERS_WORK if State.RUNNING in self.states().values() else QueueStep.FINISHED

    def _objective(self, execute: Execute) -> Callable[[Trial], float]:
        def attempt(trial: Trial) -> float:
            if "run" not in trial.user_attrs:  # Optuna samples an empty trial where none waits
                raise optuna.TrialPruned
            arm, _, seed = str(trial.user_attrs["run"]).rpartition("/seed")
            run = PlannedRun(arm, int(seed))
            lock = Lock(lock_file(self.folder, run))
            if not lock.acquire(wait=False):  # somebody looks or works outside the queue: it comes back
                raise optuna.TrialPruned
            try:
                self.gate.release()
                assert lock.descriptor is not None
                if not self.plan.is_done(self.folder, run):
                    execute(run, int(trial.user_attrs["attempt"]), lock.descriptor)
            except Crashed as crash:
                trial.set_user_attr("crashed", True)
                if isinstance(crash, Refused):
                    trial.set_user_attr("refused", True)
                raise
            finally:
                lock.release()
            value = self.plan.score(self.folder, run)
            if value is None:
                raise optuna.TrialPruned
            return value

        return attempt

    def _offer(self) -> bool:
        """Enqueue the first run that waits, unless a trial was left waiting; returns whether a run waits.

        Runs that were seen done are passed over, and those after the first that waits are not looked at: what a claim
        costs does not grow with the study.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(self.study)
        last = self._last_trials()
        first = self._first_waiting(last)
        if first is not None and not any(trial.state is TrialState.WAITING for trial in last.values()):
            before = last.get(str(first))
            attempt = 1 if before is None else int(before.user_attrs["attempt"]) + _crashed(before)
            self.study.enqueue_trial({}, user_attrs={"run": str(first), "attempt": attempt})
        return first is not None

    def _first_waiting(self, last: Mapping[str, FrozenTrial]) -> Unit | None:
        for run in self.plan.units:
            if run not in self._seen_done:
                state = self._state(run, last)
                if state is State.WAITING:
                    return run
                if state is State.DONE:
                    self._seen_done.add(run)
        return None

    def _state(self, run: Unit, last: Mapping[str, FrozenTrial]) -> State:
        if is_held(lock_file(self.folder, run)):
            return State.RUNNING
        if self.plan.is_done(self.folder, run):
            return State.DONE
        trial = last.get(str(run))
        return State.FAILED if trial is not None and _given_up(trial) else State.WAITING

    def _last_trials(self) -> dict[str, FrozenTrial]:
        """The last trial of every run by the run's id, an attribute because parameters cannot grow."""
        trials = self.study.get_trials(deepcopy=False)
        return {trial.user_attrs["run"]: trial for trial in trials if "run" in trial.user_attrs}


def _given_up(trial: FrozenTrial) -> bool:
    """Whether no attempt follows a run's last trial."""
    return _crashed(trial) and ("refused" in trial.user_attrs or trial.user_attrs["attempt"] >= ATTEMPTS)


def _crashed(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.FAIL and "crashed" in trial.user_attrs
