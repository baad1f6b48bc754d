"""What stays the same a sample, a run and a worker however many there are; CPU time of one thread.

    python experiments/benchmark_scaling.py
    python experiments/benchmark_scaling.py --runs 24 240 2400 10000 --samples 1000 1000000

Samples: the order of a source and of a mixture, and all that a step's data takes beside images and encoder (order,
keys, captions) of a source that holds nothing. Runs: a plan of eight arms whose runs are stubs. Its files are written
and read back; a worker claims the last ten runs, which do nothing, while all others are done; its state is read and
shown, for the first time and again, as whoever watches does every few seconds; the report is made of runs with planted
scores. Workers: so many processes claim 48 such runs between them. A row that grows says that something looks at all
where one would do.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from unimm.data.captions import Texts
from unimm.data.mixture import Mixture
from unimm.data.order import batch_indices
from unimm.data.source import IndexedSource
from unimm.files import write_json
from unimm.report.study.page import write
from unimm.runs.planned import PlannedArm, config_hash
from unimm.study.launch import write_plan
from unimm.study.layout import Unit, unit_folder
from unimm.study.plan import StudyPlan, hashed
from unimm.study.queue import QueueStep, RunQueue
from unimm.study.status import describe, facts, read_states

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "report"))
from synthetic_study import write_study  # the tests' study with planted scores

ARMS, BATCH, STEPS, CLAIMED, SHARED_OUT = 8, 32, 300, 10, 48
BLANK = torch.zeros(3, 64, 64, dtype=torch.uint8)
PARTS = {
    "profile": "tiny",
    "settings": "controlled",
    "foundation": "none",
    **{kind: {"name": name} for kind, name in (("encoder", "vae"), ("backbone", "causal_lm"), ("head", "linear"))},
    **{kind: {"name": name} for kind, name in (("objective", "mse"), ("strategy", "sequential"))},
    "training": {"samples": 4, "batch_size": 1, "learning_rate": 0.001, "warmup_steps": 1},
}


class Nothing(IndexedSource):
    """So many samples of one blank image."""

    resolution = 64

    def __init__(self, size: int) -> None:
        self.size = size

    @classmethod
    def build(cls, config: Any, context: Any) -> Nothing:
        raise NotImplementedError

    @property
    def name(self) -> str:
        return "nothing"

    def __len__(self) -> int:
        return self.size

    def key(self, index: int) -> str:
        return str(index)

    def image(self, index: int) -> torch.Tensor:
        return BLANK

    def texts(self, index: int) -> Texts:
        return Texts(short=("a blank image",))


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def row(what: str, unit: str, values: Sequence[float]) -> None:
    print(f"| {what} | {unit} | {' | '.join(f'{value:.3g}' for value in values)} |", flush=True)


def samples(sizes: Sequence[int]) -> None:
    """Microseconds a sample, over steps after the first."""
    print(f"\n| samples | | {' | '.join(f'{size:,}' for size in sizes)} |\n| --- | --- |{' --- |' * len(sizes)}")

    def each(step: Callable[[int], object]) -> float:
        step(0)
        return 1e6 * seconds(lambda: [step(number) for number in range(1, STEPS)]) / ((STEPS - 1) * BATCH)

    row("order", "µs a sample", [each(lambda step, n=n: batch_indices(0, step, BATCH, n)) for n in sizes])
    mixed = [Mixture([Nothing(n // 2), Nothing(n // 2)], [1, 1]) for n in sizes]
    row("mixture", "µs", [each(lambda step, m=m: m.order(0, step * BATCH, (step + 1) * BATCH)) for m in mixed])
    with ThreadPoolExecutor(1) as pool:

        def visits(source: IndexedSource, step: int) -> object:
            return source.visits(0, step * BATCH, (step + 1) * BATCH, source.image, pool)

        row("a step's visits", "µs", [each(lambda step, n=n: visits(Nothing(n), step)) for n in sizes])


def stub_plan(runs: int) -> StudyPlan:
    """Eight arms with as many seeds as make so many runs."""
    configs = {f"arm{number}": {**PARTS, "name": f"arm{number}", "question": "?"} for number in range(ARMS)}
    arms = {name: PlannedArm(f"{name}.yaml", config_hash(config), config) for name, config in configs.items()}
    claim = {"id": "it", "text": "So.", "kind": "invariant", "holds": {"backbone_unchanged": ["arm0"]}}
    claims = {"alpha": 0.05, "claims": [claim]}
    created = "2026-12-01T00:00:00+00:00"
    return hashed(StudyPlan(1, "stubs", "?", "none", created, "", list(range(runs // ARMS)), arms, [], [], claims, []))


def finish(folder: Path, plan: StudyPlan, run: Unit) -> None:
    """A result as large as a real one: 60 scores with their protocols."""
    config = {**plan.arms[run.arm].config, "seed": run.number}
    scores = [{"name": f"geneval/{number}", "value": 0.5, "protocol": {"is": "x" * 400}} for number in range(60)]
    record = {"arm": run.arm, "seed": run.number, "hashes": {}, "config": config, "scores": scores}
    speed = {"train_seconds": 1.0, "score_seconds": 1.0}
    write_json(unit_folder(folder, run) / "result.json", {**record, "speed": speed})


def claim(queue: RunQueue) -> QueueStep:
    """A worker's claim of one run, which does nothing."""
    return queue.work_one(lambda run, attempt, lock: finish(queue.folder, queue.plan, run))


def runs(sizes: Sequence[int], scratch: Path) -> None:
    """Milliseconds a planned run; of claims, a claimed one."""
    for number, size in enumerate(sizes):
        times = _study(size, scratch / f"study-{size}")
        if not number:
            print(f"\n| runs, ms each | {' | '.join(times)} |\n| --- |{' --- |' * len(times)}")
        print(f"| {size:,} | {' | '.join(f'{each:.3g}' for each in times.values())} |", flush=True)


def _study(size: int, folder: Path) -> dict[str, float]:
    plan, times = stub_plan(size), {}
    times["plan written"] = seconds(lambda: write_plan(plan, folder)) / size
    times["plan read"] = seconds(lambda: StudyPlan.read(folder)) / size
    for run in plan.units[:-CLAIMED]:
        finish(folder, plan, run)
    queue = RunQueue(folder, plan, None)
    claim(queue)  # the first one looks at all
    times["claimed, a claim"] = seconds(lambda: [claim(queue) for _ in range(1, CLAIMED)]) / (CLAIMED - 1)
    again = StudyPlan.read(folder)
    for what in ("status", "status again"):
        times[what] = seconds(lambda: describe(folder, again, read_states(folder, again, None))) / size
    times["status --json"] = seconds(lambda: json.dumps(facts(folder, again, read_states(folder, again, None)))) / size
    shutil.rmtree(folder)
    write_study(folder, seeds=tuple(range(size // ARMS)))
    times["report"] = seconds(lambda: write(folder)) / size
    shutil.rmtree(folder)
    return {what: 1000 * each for what, each in times.items()}


def _worker(folder: Path, used: Any) -> None:
    def work() -> None:
        queue = RunQueue(folder, StudyPlan.read(folder), None)
        while claim(queue) is not QueueStep.FINISHED:
            pass

    used.put(seconds(work))


def workers(counts: Sequence[int], scratch: Path) -> None:
    """CPU milliseconds a run of all workers together, and wall milliseconds, which other work moves."""
    cpu, wall = [], []
    for count in counts:
        folder = scratch / f"workers-{count}"
        write_plan(stub_plan(SHARED_OUT), folder)
        context = multiprocessing.get_context("fork")
        used = context.Queue()
        begun = time.monotonic()
        started = [context.Process(target=_worker, args=(folder, used)) for _ in range(count)]
        for process in started:
            process.start()
        spent = [used.get() for _ in started]
        for process in started:
            process.join()
        cpu.append(1000 * sum(spent) / SHARED_OUT)
        wall.append(1000 * (time.monotonic() - begun) / SHARED_OUT)
    print(f"\n| workers | | {' | '.join(map(str, counts))} |\n| --- | --- |{' --- |' * len(counts)}")
    row("CPU of all, a run", "ms", cpu)
    row("wall, a run", "ms", wall)


def main() -> None:
    """Parse the command line, print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", nargs="*", type=int, default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--runs", nargs="*", type=int, default=[24, 240, 2400], help="multiples of eight")
    parser.add_argument("--workers", nargs="*", type=int, default=[1, 2, 4, 8])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        samples(chosen.samples)
        runs(chosen.runs, Path(name))
        workers(chosen.workers, Path(name))


if __name__ == "__main__":
    main()
