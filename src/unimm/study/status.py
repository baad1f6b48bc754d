"""How far a study or a tuning is, as text: a table of arms and seeds or trials, and the ends of logs of failed ones."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from unimm.files import METRICS
from unimm.study.layout import Unit, log_file, unit_folder
from unimm.study.plan import Plan, StudyPlan, TuningPlan
from unimm.study.queue import RunQueue, State
from unimm.study.trials import trial_states

LOG_LINES = 8
LOG_BYTES = 20_000


def read_states(folder: Path, plan: StudyPlan | TuningPlan, storage: str | None) -> dict[Unit, State]:
    """Every unit's state; a folder of collected results stays as it is."""
    if isinstance(plan, TuningPlan):
        return trial_states(folder, plan)
    if storage is not None or (folder / "queue.db").exists():
        return RunQueue(folder, plan, storage).states()
    return {run: State.DONE if plan.is_done(folder, run) else State.WAITING for run in plan.units}


def describe(folder: Path, plan: Plan, states: Mapping[Unit, State]) -> str:
    """The table, a line of totals, and for what failed the last lines of its log."""
    header = ("arm", *(f"{plan.unit.word} {number}" for number in plan.numbers))
    rows = [(arm, *(_cell(folder, plan, plan.unit(arm, n), states) for n in plan.numbers)) for arm in plan.arms]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in [header, *rows]]
    totals = Counter(states.values())
    summary = ", ".join(f"{totals[state]} {state.value}" for state in State if totals[state])
    failed = [unit for unit, state in states.items() if state is State.FAILED]
    return "\n".join(
        [
            *table,
            f"{plan.name}: {summary} of {len(states)} {plan.unit.room}",
            *(_failure(str(unit), log_file(folder, unit)) for unit in failed),
        ]
    )


def last_lines(log: Path, count: int = LOG_LINES) -> list[str]:
    """The last lines of a log; a progress bar counts as its last state."""
    text = log.read_bytes()[-LOG_BYTES:].decode(errors="replace")
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in text.replace("\r\n", "\n").splitlines()]
    return [line for line in lines if line][-count:]


def _failure(what: str, log: Path) -> str:
    """A line that says what failed, and the end of its log."""
    return "\n".join([f"\n{what} failed; the end of {log}:", *(f"  {line}" for line in last_lines(log))])


def _cell(folder: Path, plan: Plan, unit: Unit, states: Mapping[Unit, State]) -> str:
    state = states[unit]
    share = _share(unit_folder(folder, unit), plan.arms[unit.arm].config["training"]["samples"])
    return f"{state.value} {share:.0%}" if state in (State.RUNNING, State.WAITING) and share else state.value


def _share(folder: Path, samples: int) -> float:
    """How much of its training a run or trial has logged, 0 to 1."""
    own = folder / METRICS
    logs = [own] if own.is_file() else folder.glob(f"*/{METRICS}")  # of each stage
    return sum(map(_logged, logs)) / samples


def _logged(log: Path) -> float:
    """How many samples a log has seen."""
    whole = [line for line in log.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return float(json.loads(whole[-1])["samples"]) if whole else 0.0
