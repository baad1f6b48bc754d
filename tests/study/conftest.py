"""Studies whose runs are fakes of a quarter of a second, planned without composing any arm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unimm.files import write_json
from unimm.runs.planned import PlannedArm, config_hash, plan_hash
from unimm.study.layout import config_file
from unimm.study.plan import StudyPlan, hashed

MakePlan = Callable[..., StudyPlan]
CLAIM = {"id": "it", "text": "So it is.", "kind": "invariant", "holds": {"backbone_unchanged": ["a"]}}

# A configuration of a real run with every default left out, as if a unimm without these settings had stored it.
PARTS = {
    "profile": "tiny",
    "settings": "controlled",
    "foundation": "none",
    "encoder": {"name": "vae"},
    "backbone": {"name": "causal_lm"},
    "head": {"name": "linear"},
    "objective": {"name": "mse"},
    "strategy": {"name": "sequential"},
}
TRAINING = {"samples": 4, "batch_size": 1, "learning_rate": 0.001, "warmup_steps": 1}


@pytest.fixture
def make_plan() -> MakePlan:
    """Freeze a plan: `crashes` maps each arm to how often a run of it crashes before it succeeds."""

    def make(folder: Path, crashes: dict[str, int], seeds: int = 2) -> StudyPlan:
        arms = {}
        for name, count in crashes.items():
            config = {**PARTS, "name": name, "question": str(count), "training": TRAINING}
            arms[name] = PlannedArm(f"{name}.yaml", config_hash(config), config)
        created, claims = "2026-12-01T00:00:00+00:00", {"alpha": 0.05, "claims": [CLAIM]}
        plan = StudyPlan(1, "fakes", "Does it run?", "none", created, "", list(range(seeds)), arms, [], [], claims, [])
        plan = hashed(plan)
        for run in plan.units:
            config_file(folder, run).parent.mkdir(parents=True, exist_ok=True)
            config_file(folder, run).write_text(json.dumps({**arms[run.arm].config, "seed": run.number}))
        write_json(folder / "plan.json", plan.content())
        return plan

    return make


class Processes:
    """Workers and launchers started by a test; none outlives it."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, verb: str, folder: Path, *options: str) -> subprocess.Popen[bytes]:
        script = str(Path(__file__).with_name("fake_study.py"))
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([sys.executable, script, verb, str(folder), *options], env=environment)
        self.started.append(process)
        return process

    def finish(self, verb: str, folder: Path, *options: str) -> None:
        assert self.start(verb, folder, *options).wait(timeout=60) == 0


@pytest.fixture
def processes() -> Iterator[Processes]:
    made = Processes()
    yield made
    for process in made.started:
        process.kill()
        process.wait()


@pytest.fixture
def as_stored_before() -> Callable[[Path, str, str], None]:
    """Take a setting out of a plan's arms, as a unimm that did not have it yet would have stored them."""

    def forget(folder: Path, section: str, key: str) -> None:
        content = json.loads((folder / "plan.json").read_text())
        for arm in content["arms"].values():
            del arm["config"][section][key]
            arm["hash"] = config_hash(arm["config"])
        write_json(folder / "plan.json", content | {"hash": plan_hash(content)})

    return forget


def executions(folder: Path) -> Counter[str]:
    """What the fake runs noted, and how often."""
    return Counter((folder / "executions.txt").read_text().splitlines())


@pytest.fixture
def noted() -> Callable[[Path], Counter[str]]:
    return executions


@pytest.fixture
def check_complete() -> Callable[[Path, StudyPlan, int], None]:
    """Every run has one result, no two processes shared a folder, and `kills` cost at most a step each."""

    def check(folder: Path, plan: StudyPlan, kills: int) -> None:
        found = executions(folder)
        assert all((folder / "runs" / str(run) / "result.json").is_file() for run in plan.units)
        assert not [line for line in found if line.endswith(("OVERLAP", "DOUBLE"))]
        repeated = sum(count - 1 for line, count in found.items() if " step " in line)
        assert repeated <= kills
        assert sum(count for line, count in found.items() if line.endswith("result")) <= len(plan.units) + kills

    return check
