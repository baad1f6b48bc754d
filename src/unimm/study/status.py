"""How far a study is, as text: a table of arms and seeds, and the end of the log of every failed run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from unimm.study.layout import is_done, log_file, run_folder
from unimm.study.plan import Plan, Run
from unimm.study.queue import Queue, State

LOG_LINES = 8
LOG_BYTES = 20_000


def read_states(folder: Path, plan: Plan, storage: str | None) -> dict[Run, State]:
    """Every run's state; a folder of collected results stays as it is."""
    if storage is not None or (folder / "queue.db").exists():
        return Queue(folder, plan, storage).states()
    return {run: State.DONE if is_done(folder, plan, run) else State.WAITING for run in plan.runs}


def describe(folder: Path, plan: Plan, states: Mapping[Run, State]) -> str:
    """The table, a line of totals, and for failed runs the last lines of their logs."""
    columns = [f"seed {seed}" for seed in plan.seeds]
    rows = [(arm, *(_cell(folder, plan, Run(arm, seed), states) for seed in plan.seeds)) for arm in plan.arms]
    widths = [max(map(len, column)) for column in zip(("arm", *columns), *rows, strict=True)]
    table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in [("arm", *columns), *rows]]
    totals = Counter(states.values())
    summary = ", ".join(f"{totals[state]} {state.value}" for state in State if totals[state])
    failed = [run for run, state in states.items() if state is State.FAILED]
    return "\n".join(
        [
            *table,
            f"{plan.name}: {summary} of {len(states)} runs",
            *(failure(str(run), log_file(folder, run)) for run in failed),
        ]
    )


def last_lines(log: Path, count: int = LOG_LINES) -> list[str]:
    """The last lines of a log; a progress bar counts as its last state."""
    text = log.read_bytes()[-LOG_BYTES:].decode(errors="replace")
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in text.replace("\r\n", "\n").splitlines()]
    return [line for line in lines if line][-count:]


def failure(what: str, log: Path) -> str:
    """A line that says what failed, and the end of its log."""
    return "\n".join([f"\n{what} failed; the end of {log}:", *(f"  {line}" for line in last_lines(log))])


def _cell(folder: Path, plan: Plan, run: Run, states: Mapping[Run, State]) -> str:
    state = states[run]
    share = _share(run_folder(folder, run), plan.arms[run.arm].config["training"]["samples"])
    return f"{state.value} {share:.0%}" if state in (State.RUNNING, State.WAITING) and share else state.value


def _share(folder: Path, samples: int) -> float:
    """How much of its training a run has logged, 0 to 1."""
    own = folder / "metrics.jsonl"
    logs = [own] if own.is_file() else folder.glob("*/metrics.jsonl")  # of each stage
    return sum(map(_logged, logs)) / samples


def _logged(log: Path) -> float:
    """How many samples a log has seen."""
    whole = [line for line in log.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return float(json.loads(whole[-1])["samples"]) if whole else 0.0
