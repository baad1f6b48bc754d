"""How far a study or a tuning is, as text: a table of arms and seeds or trials, and the ends of logs of failed ones."""

from __future__ import annotations

import shutil
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unimm.report.table import duration
from unimm.study.layout import Unit, log_file, unit_folder
from unimm.study.pace import logged, seconds_left
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
    failed = [unit for unit, state in states.items() if state is State.FAILED]
    return "\n".join(
        [
            *_table(folder, plan, states),
            summary(folder, plan, states),
            *(_failure(str(unit), log_file(folder, unit)) for unit in failed),
        ]
    )


def summary(folder: Path, plan: Plan, states: Mapping[Unit, State]) -> str:
    """How many units are where, and how long the rest will take while some of them run."""
    totals = Counter(states.values())
    counted = ", ".join(f"{totals[state]} {state.value}" for state in State if totals[state])
    left = seconds_left(folder, plan, states)
    remark = "" if left is None else f"; about {duration(left)} left"
    return f"{plan.name}: {counted} of {len(states)} {plan.unit.room}{remark}"


def idle(plan: Plan, states: Mapping[Unit, State], again: str) -> str:
    """Lines with the command ``again``, which starts what waits; empty where nothing does, or something is running."""
    if State.WAITING not in states.values() or State.RUNNING in states.values():
        return ""
    return f"\nno {plan.unit.room.removesuffix('s')} is running; what waits is started by\n  {again}"


def _table(folder: Path, plan: Plan, states: Mapping[Unit, State]) -> list[str]:
    """A row an arm with a column a number; where the terminal is too narrow, the arm's numbers by their state."""
    header = ("arm", *(f"{plan.unit.word} {number}" for number in plan.numbers))
    rows = [(arm, *(_cell(folder, plan, plan.unit(arm, n), states) for n in plan.numbers)) for arm in plan.arms]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    if sum(widths) + 2 * (len(widths) - 1) <= shutil.get_terminal_size().columns:
        return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in [header, *rows]]
    return [line for arm, *cells in rows for line in _by_state(plan, arm, cells)]


def _by_state(plan: Plan, arm: str, cells: Sequence[str]) -> list[str]:
    """An arm's numbers by what their cells say, as in `clip_fm: trials 0, 1 done; 2 running 40%`."""
    numbers: dict[str, list[str]] = {}
    for number, cell in zip(plan.numbers, cells, strict=True):
        numbers.setdefault(cell, []).append(str(number))
    text = "; ".join(f"{', '.join(those)} {cell}" for cell, those in numbers.items())
    width = shutil.get_terminal_size().columns
    return textwrap.wrap(f"{arm}: {plan.unit.word}s {text}", width, subsequent_indent="  ")


def facts(folder: Path, plan: Plan, states: Mapping[Unit, State]) -> dict[str, Any]:
    """The same for scripts: every run or trial with its state and the share of its training that it has logged."""
    return {
        "name": plan.name,
        "folder": str(folder),
        "plan": plan.hash,
        "totals": dict(Counter(state.value for state in states.values())),
        "seconds_left": seconds_left(folder, plan, states),
        plan.unit.room: [
            {
                "arm": unit.arm,
                unit.word: unit.number,
                "state": state.value,
                "trained": 1.0 if state is State.DONE else logged(folder, plan, unit).share,
                "folder": str(unit_folder(folder, unit)),
            }
            for unit, state in states.items()
        ],
    }


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
    share = logged(folder, plan, unit).share
    return f"{state.value} {share:.0%}" if state in (State.RUNNING, State.WAITING) and share else state.value
