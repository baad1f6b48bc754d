"""Reads a tuning's folder, `plan.json` and `trials/<arm>/trial<k>/`, and checks that every arm got the same budget."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from unimm.config import flatten
from unimm.report.study.folder import PlannedArm
from unimm.runs.record import GIVEN_UP, TRIAL, TrialRecord


class TuningPlan(BaseModel):
    """`plan.json` of a tuning, frozen before the first trial."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    question: str
    profile: str
    created: str
    hash: str
    seed: int
    trials: int
    samples: int
    prompts: int
    metric: str
    sampler: dict[str, Any]
    space: dict[str, dict[str, Any]]
    by_sampling: dict[str, list[Any]]
    arms: dict[str, PlannedArm]

    @property
    def searched(self) -> list[str]:
        """Every searched setting."""
        return [*self.space, *self.by_sampling]


@dataclass(frozen=True)
class ArmTrials:
    """One arm's finished trials by their number, and the numbers of those that were given up."""

    records: Mapping[int, TrialRecord]
    failed: frozenset[int]

    @property
    def spent(self) -> int:
        """Trials that used up budget."""
        return len(self.records) + len(self.failed)

    @property
    def best(self) -> TrialRecord | None:
        """The finished trial with the highest score, the first of equal ones."""
        scored = [record for _, record in sorted(self.records.items()) if record.value is not None]
        return max(scored, key=lambda record: record.value or 0.0, default=None)

    @property
    def untuned(self) -> float | None:
        """Score of the arm as it stands."""
        return self.records[0].untuned if 0 in self.records else None

    @property
    def samples(self) -> int:
        """Samples of all finished trials."""
        return sum(record.samples for record in self.records.values())


@dataclass(frozen=True)
class Outcome:
    """A tuning as far as it got."""

    path: Path
    plan: TuningPlan
    arms: Mapping[str, ArmTrials]

    def skipped(self, arm: str) -> list[str]:
        """Searched settings that the arm does not have."""
        known = flatten(self.plan.arms[arm].config)
        return [key for key in self.plan.searched if key not in known]

    def best_so_far(self, arm: str) -> list[float | None]:
        """The highest score after each spent trial, None before the first score."""
        trials, best, found = self.arms[arm], None, []
        for number in sorted({*trials.records, *trials.failed}):
            value = trials.records[number].value if number in trials.records else None
            best = value if best is None or (value is not None and value > best) else best
            found.append(best)
        return found

    def problems(self) -> list[str]:
        """Why arms cannot be compared yet: trials are missing, or some arm was given another budget than the plan's."""
        found = []
        for arm, trials in self.arms.items():
            if trials.spent != self.plan.trials:
                found.append(f"{arm}: {trials.spent} of {self.plan.trials} trials")
            found += [
                f"{arm} trial {n}: {why}" for n, record in trials.records.items() for why in self._odd(arm, record)
            ]
            if trials.spent == self.plan.trials and trials.best is None:
                found.append(f"{arm}: no trial gave a score")
        return found

    def _odd(self, arm: str, record: TrialRecord) -> list[str]:
        """In what a trial is not as planned."""
        settings, planned, ran = record.settings, flatten(self.plan.arms[arm].config), flatten(record.settings.config)
        own = {key: values for key, values in self.plan.by_sampling.items() if key in planned}
        images = {other.n for trials in self.arms.values() for other in trials.records.values()}
        batch = int(ran["training.batch_size"])
        changed = [key for key in planned if ran.get(key) != planned[key] and key not in settings.params]
        checks = {
            f"trained on {record.samples:,} samples": record.samples != self.plan.samples // batch * batch,
            f"made with seed {ran['seed']}": ran["seed"] != self.plan.seed,
            f"scored on {record.n} images": record.n != min(images),
            f"scored by {settings.metric}": settings.metric != self.plan.metric,
            "chose by sampling among other values": settings.by_sampling != own,
            f"differs in {', '.join(changed)}": bool(changed),
            "searched other settings": bool(set(settings.params) - set(self.plan.space)),
        }
        return [text for text, holds in checks.items() if holds]


def read(folder: Path) -> Outcome:
    """Read the tuning in `folder`; ValueError says which file is missing or malformed."""
    path = folder / "plan.json"
    if not path.is_file():
        raise ValueError(f"{folder} is no tuning: it has no plan.json. Start one with `unimm study tune TUNING.yaml`.")
    try:
        plan = TuningPlan.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise ValueError(f"{path} is not a tuning's plan that this unimm reads: {error}") from error
    return Outcome(folder, plan, {arm: _trials(folder / "trials" / arm, plan) for arm in plan.arms})


def _trials(folder: Path, plan: TuningPlan) -> ArmTrials:
    records, failed = {}, set()
    for number in range(plan.trials):
        path = folder / f"trial{number}" / TRIAL
        if path.is_file():
            record = TrialRecord.model_validate_json(path.read_text(encoding="utf-8"))
            if record.settings.plan == plan.hash:
                records[number] = record
        elif path.with_name(GIVEN_UP).is_file():
            failed.add(number)
    return ArmTrials(records, frozenset(failed))
