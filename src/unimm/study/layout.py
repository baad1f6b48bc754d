"""Where everything of a study lies, and when a run counts as done."""

from __future__ import annotations

import json
from pathlib import Path

from unimm.study.plan import Plan, Run

STUDIES = Path("experiments/runs/studies")
REPORTS = Path("reports")


def run_folder(folder: Path, run: Run) -> Path:
    """The folder of one run, as `unimm run` writes it."""
    return folder / "runs" / run.arm / f"seed{run.seed}"


def config_file(folder: Path, run: Run) -> Path:
    """The resolved configuration of one run, for `unimm run`."""
    return folder / "configs" / f"{run.arm}-seed{run.seed}.yaml"


def log_file(folder: Path, run: Run) -> Path:
    """What one run printed, attempt after attempt."""
    return folder / "logs" / f"{run.arm}-seed{run.seed}.log"


def lock_file(folder: Path, run: Run) -> Path:
    """Locked while a process may write the run's folder."""
    return folder / "locks" / f"{run.arm}-seed{run.seed}.lock"


def is_done(folder: Path, plan: Plan, run: Run) -> bool:
    """Whether the run has a result of the planned configuration: `result.json` is written last, so it is whole."""
    path = run_folder(folder, run) / "result.json"
    if not path.is_file():
        return False
    config = json.loads(path.read_text(encoding="utf-8"))["config"]
    return bool(config["seed"] == run.seed) and plan.arms[run.arm].means(config, path)
