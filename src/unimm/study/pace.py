"""How long a study or a tuning will still take, read off its folder.

What a unit of an arm takes in all, T seconds of which a share r is training, is the mean over the arm's finished units,
or over all arms' where there is none. Before anything is finished, the arm's running units say it by what they have
logged. A unit that has trained a share s of its samples has T (1 - s r) seconds to go, and as many units as run now
share the sum:

    time left = max(sum of what is left / units that run, longest of what is left)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from unimm.files import METRICS, read_object, stamp
from unimm.runs.record import RESULT
from unimm.runs.trial_record import TRIAL
from unimm.study.layout import Unit, unit_folder
from unimm.study.plan import AGAIN, Plan
from unimm.study.queue import State

ENOUGH = 0.02  # of a training: sooner its pace says nothing


class Logged(NamedTuple):
    """How much of its training a unit has logged, 0 to 1, and in how many seconds."""

    share: float
    seconds: float


class Took(NamedTuple):
    """Seconds of a whole unit, and how many of them were training."""

    seconds: float
    training: float


def logged(folder: Path, plan: Plan, unit: Unit) -> Logged:
    """What the unit's log says so far."""
    there = unit_folder(folder, unit)
    own = there / METRICS
    rows = list(map(_last_row, [own] if own.is_file() else there.glob(f"*/{METRICS}")))  # of each stage
    samples = sum(samples for samples, _ in rows)
    return Logged(samples / plan.arms[unit.arm].config["training"]["samples"], sum(seconds for _, seconds in rows))


def seconds_left(folder: Path, plan: Plan, states: Mapping[Unit, State]) -> float | None:
    """Estimated seconds until all is done; None where nothing runs, or nothing tells yet."""
    running = [unit for unit, state in states.items() if state is State.RUNNING]
    progress = {unit: logged(folder, plan, unit) for unit, state in states.items() if state is not State.DONE}
    known: dict[str, list[Took]] = {}
    for unit, state in states.items():
        if state is State.DONE and (took := _took(folder, unit)):
            known.setdefault(unit.arm, []).append(took)
    if not known:
        for unit in running:
            if progress[unit].share >= ENOUGH:
                seconds = progress[unit].seconds / progress[unit].share
                known.setdefault(unit.arm, []).append(Took(seconds, seconds))
    if not running or not known:
        return None
    means = {arm: _mean(took) for arm, took in known.items()}
    others = _mean(means.values())
    left = []
    for unit, state in states.items():
        if state in (State.RUNNING, State.WAITING):
            whole = means.get(unit.arm, others)
            left.append(whole.seconds - min(progress[unit].share, 1.0) * whole.training)
    return max(sum(left) / len(running), *left)


def _mean(took: Iterable[Took]) -> Took:
    seconds, training = zip(*took, strict=True)
    return Took(fmean(seconds), fmean(training))


def _took(folder: Path, unit: Unit) -> Took | None:
    """What a finished unit took; None where its record does not say."""
    there = unit_folder(folder, unit)
    path = next((there / name for name in (TRIAL, RESULT) if (there / name).is_file()), there / RESULT)
    return _took_by(path, stamp(path))


@cache
def _took_by(record: Path, _changed: tuple[int, int, int]) -> Took | None:
    """What a record says that its unit took; whoever watches asks every few seconds."""
    content = read_object(record, AGAIN)
    if record.name == TRIAL:
        seconds = content.get("seconds")
        return None if seconds is None else Took(seconds, seconds)
    speed = content.get("speed", {})
    training, scoring = speed.get("train_seconds"), speed.get("score_seconds")
    return None if training is None else Took(training + (scoring or 0), training)


def _last_row(log: Path) -> tuple[float, float]:
    """Samples and seconds of a log's last whole line."""
    whole = [line for line in log.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    row = json.loads(whole[-1]) if whole else {}
    return float(row.get("samples", 0)), float(row.get("seconds", 0))
