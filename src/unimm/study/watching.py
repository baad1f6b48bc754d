"""What people see of a study or a tuning while it runs: a line for every unit that starts or ends, and how far all is.

Workers may be elsewhere, so that it is read off folders and locks every few seconds, like `unimm study status`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.text import Text
from tqdm import tqdm

from unimm.progress import say
from unimm.report.table import duration, number
from unimm.study.layout import Unit, log_file
from unimm.study.pace import logged, seconds_left
from unimm.study.plan import StudyPlan, TuningPlan
from unimm.study.processes import StudyError
from unimm.study.queue import State
from unimm.study.status import describe, idle, last_lines, read_states, summary

SECONDS = 3.0
FORMAT = "{desc} {percentage:3.0f}%|{bar}| {postfix}"
States = Callable[[], Mapping[Unit, State]]


@contextmanager
def watched(folder: Path, plan: StudyPlan | TuningPlan, states: States, seconds: float = SECONDS) -> Iterator[None]:
    """Within, a thread looks every few seconds and says on stderr what has changed; a terminal has a bar of all."""
    over, watch = threading.Event(), Watch(folder, plan, states())

    def look_on() -> None:
        bar = tqdm(desc=plan.name, total=1.0, bar_format=FORMAT, leave=False, disable=not sys.stderr.isatty())
        with bar:
            while not over.wait(seconds):
                with suppress(StudyError, OSError):  # a look that fails is followed by another
                    _tell(watch, states(), bar)

    thread = threading.Thread(target=look_on, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    for line in watch.changes(states()):
        say(line)


def _tell(watch: Watch, found: Mapping[Unit, State], bar: tqdm[Any]) -> None:
    lines = watch.changes(found)
    for line in lines:
        say(line)
    if lines and bar.disable:
        say(summary(watch.folder, watch.plan, found))
    bar.set_postfix_str(watch.running(found), refresh=False)
    bar.n = watch.share(found)
    bar.refresh()


class Watch:
    """What has changed since the last look at a plan's units, which begins with the states ``before``."""

    def __init__(self, folder: Path, plan: StudyPlan | TuningPlan, before: Mapping[Unit, State]) -> None:
        self.folder, self.plan, self.before = folder, plan, dict(before)

    def changes(self, states: Mapping[Unit, State]) -> list[str]:
        """A line for each unit that began, ended, or waits again."""
        changed = [unit for unit, state in states.items() if state is not self.before.get(unit)]
        self.before = dict(states)
        return [self._line(unit, states[unit]) for unit in changed]

    def _line(self, unit: Unit, state: State) -> str:
        if state is State.DONE:
            value = self.plan.score(self.folder, unit)
            return f"{unit} done: {self.plan.headline} {number(value)}"
        log = log_file(self.folder, unit)
        if state is State.FAILED and log.is_file():
            return f"{unit} failed: {' '.join(last_lines(log, 1))}"
        return f"{unit} {state.value}"

    def running(self, states: Mapping[Unit, State]) -> str:
        """What runs, and how long all will take."""
        now = [
            f"{unit} {logged(self.folder, self.plan, unit).share:.0%}"
            for unit, s in states.items()
            if s is State.RUNNING
        ]
        left = seconds_left(self.folder, self.plan, states)
        return ", ".join([*([] if left is None else [f"about {duration(left)} left"]), *now])

    def share(self, states: Mapping[Unit, State]) -> float:
        """How much of all training is done."""
        shares = [
            1.0 if state is State.DONE else min(logged(self.folder, self.plan, unit).share, 1.0)
            for unit, state in states.items()
        ]
        return sum(shares) / len(shares)


def look_on(
    folder: Path, plan: StudyPlan | TuningPlan, storage: str | None, again: str, seconds: float = SECONDS
) -> None:
    """Show the table again and again until nothing is left to do, or until Ctrl-C; ``again`` starts what waits."""
    with suppress(KeyboardInterrupt), Live(auto_refresh=False) as live:
        while True:
            states = read_states(folder, plan, storage)
            live.update(Text(describe(folder, plan, states) + idle(plan, states, again)), refresh=True)
            if all(state in (State.DONE, State.FAILED) for state in states.values()):
                return
            time.sleep(seconds)
