"""SIGKILLs at random moments of a study's workers, children and launcher: is a run lost, doubled, or another one?

    OMP_NUM_THREADS=1 python experiments/kill_sweep.py --kills 200 --folder DIR

A tiny study (two arms, two seeds, two workers) runs once without kills. Then studies of the same file run while one of
their processes after the other is killed, until so many kills are done; whatever ended early is started again, and the
last start of each is left alone. A run is *lost* where the study then ends without it, *doubled* where two processes
write its folder at once or its result changes after it was there, and *another one* where anything that it computed
differs by a bit from the run of the study that nobody killed. With `--ranks 2` each run is a group: an agent, which is
killed as well, and the ranks that it starts; two processes are then of one group if torchrun gave them one id. Only
processes whose command names the sweep's own folder are killed. Prints a JSON report; the exit code is 1 unless
all three are 0.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from unimm.files import CHECKPOINT, METRICS, WEIGHTS
from unimm.runs.record import CONFIG, ITEMS, RESULT
from unimm.study.plan import read_plan

ABLATIONS = Path(__file__).parents[1] / "ablations"
ARMS = ("vae_fm", "vae_mse")
OVERRIDES = ["training.samples=1600", "training.checkpoint_every_steps=10"]  # 100 steps, so that kills meet training
CLAIM = {"id": "c", "text": "It holds.", "kind": "invariant", "holds": {"backbone_unchanged": list(ARMS)}}
# What a clock or a machine says of a run, which no two runs share.
OF_THE_CLOCK = ("started", "speed", "efficiency.peak_memory_bytes", "efficiency.sampling_seconds_per_image")
KINDS = {"run": "child", "work": "worker", "study": "launcher"}
AGENT, AGENT_MODULE, GROUP = "agent", "unimm.study.ranks", "TORCHELASTIC_RUN_ID="
WAIT = 0.2


class Process(NamedTuple):
    """A process of the sweep; ``kind`` is child, agent (of a group of children), worker or launcher.

    ``group`` is what the ranks of one run have in common; a child alone is its own.
    """

    pid: int
    kind: str
    command: tuple[str, ...]
    group: str


def processes(folder: Path) -> Iterator[Process]:
    """The living processes of unimm whose command names something below ``folder``."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = tuple((entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1])
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            environment = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if state != "Z" and environment != [""] and "unimm" in command and any(str(folder) in word for word in command):
            verbs = command[command.index("unimm") + 1 :]
            kind = KINDS["work" if verbs[:2] == ("study", "work") else verbs[0]]
            group = next((word for word in environment if word.startswith(GROUP)), entry.name)
            yield Process(int(entry.name), AGENT if AGENT_MODULE in command else kind, command, group)


def phase(process: Process) -> str:
    """How far the run of a child was."""
    if process.kind not in ("child", AGENT) or "--out" not in process.command:
        return "-"
    out = Path(process.command[process.command.index("--out") + 1])
    marks = {RESULT: "result written", WEIGHTS: "scoring", CHECKPOINT: "training", CONFIG: "before a checkpoint"}
    return next((name for file, name in marks.items() if (out / file).exists()), "before its folder")


@dataclass
class Watch:
    """What was seen of a study: kills by kind and phase, and what should not be."""

    study: Path
    ranks: int = 1
    kills: Counter[str] = field(default_factory=Counter)
    doubled: set[str] = field(default_factory=set)
    results: dict[Path, bytes] = field(default_factory=dict)

    def look(self) -> list[Process]:
        """The living processes; notes folders that two children write, and results that changed."""
        found = list(processes(self.study))
        groups: dict[str, set[str]] = {}
        for process in found:
            if process.kind == "child" and "--out" in process.command:
                out = process.command[process.command.index("--out") + 1]
                groups.setdefault(out, set()).add(process.group)
        self.doubled |= {out for out, writing in groups.items() if len(writing) > 1}
        for path in self.study.glob(f"runs/*/*/{RESULT}"):
            content = path.read_bytes()
            if self.results.setdefault(path, content) != content:
                self.doubled.add(str(path.parent))
        return found

    def pause(self, seconds: float, launcher: subprocess.Popen[bytes]) -> None:
        """Look on for so long, or until the launcher ends."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and launcher.poll() is None:
            self.look()
            time.sleep(WAIT)

    def kill(self, moments: random.Random, mean: float, launcher: subprocess.Popen[bytes]) -> None:
        """Wait until a process of a random kind lives, then for a random time, and kill one that still does.

        At a moment alone, starts of launchers would be met most often: each start takes a child's seconds.
        """
        kind = moments.choice([*KINDS.values(), *([AGENT] if self.ranks > 1 else [])])
        while launcher.poll() is None and all(process.kind != kind for process in self.look()):
            time.sleep(WAIT)
        self.pause(moments.uniform(0, 2 * mean), launcher)
        alive = [process for process in self.look() if process.kind == kind]
        if not alive:
            return
        victim = moments.choice(alive)
        how_far = phase(victim)
        try:
            os.kill(victim.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.kills[f"{kind}, {how_far}" if how_far != "-" else kind] += 1


def start(file: Path, study: Path, ranks: int) -> subprocess.Popen[bytes]:
    """A launcher of the study, whatever was there before; its output goes beside the study."""
    options = ["--out", str(study), "--collect", str(study / "collected"), "--workers", "2", "--ranks", str(ranks)]
    with (study.parent / f"{study.name}.log").open("ab") as log:
        command = [sys.executable, "-m", "unimm", "study", "run", str(file), *options]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def run_study(file: Path, study: Path, kills: int, moments: random.Random, mean: float, ranks: int = 1) -> Watch:
    """Run a study to its end, with at most so many kills, each ``mean`` seconds, on average, after a victim lives."""
    watch = Watch(study, ranks)
    while True:
        launcher, before = start(file, study, ranks), watch.kills.total()
        try:
            while launcher.poll() is None and watch.kills.total() < kills:
                watch.kill(moments, mean, launcher)
            while launcher.poll() is None:
                watch.look()
                time.sleep(WAIT)
        finally:
            launcher.terminate()  # where the sweep itself is stopped; workers and children stop with it
            launcher.wait()
        left_alone = watch.kills.total() == before  # else a run may have spent its attempts on kills
        if (launcher.returncode == 0 or left_alone) and not list(processes(study)):
            return watch


def computed(run: Path) -> dict[str, str]:
    """Hashes of everything that a run computed, by file, what a clock says left out."""
    found = {path.relative_to(run).as_posix(): digest(path.read_bytes()) for path in run.rglob("*.safetensors")}
    for name in (CONFIG, ITEMS, "samples/sheet.png", "samples/grid.json", "data_card.json"):
        found[name] = digest((run / name).read_bytes())
    result = json.loads((run / RESULT).read_text())
    for reached in result.get("efficiency", {}).get("reached", []):
        del reached["seconds"]
    for key in OF_THE_CLOCK:
        *sections, leaf = key.split(".")
        place = result
        for section in sections:
            place = place[section]
        place.pop(leaf, None)
    rows = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    found[METRICS] = digest(json.dumps([{k: v for k, v in row.items() if k != "seconds"} for row in rows]).encode())
    found[RESULT] = digest(json.dumps(result, sort_keys=True).encode())
    return found


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def differences(run: Path, other: Path) -> list[str]:
    """Files of two runs that do not hold the same."""
    ours, theirs = computed(run), computed(other)
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def check(study: Path, reference: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Runs that a study lacks, and those that differ from the reference's, with the files that do."""
    plan = read_plan(study)
    lost = [str(unit) for unit in plan.units if not plan.is_done(study, unit)]
    there = [str(unit) for unit in plan.units if str(unit) not in lost]
    other = {unit: differences(study / "runs" / unit, reference / "runs" / unit) for unit in there}
    return lost, {unit: files for unit, files in other.items() if files}


def write_study(folder: Path) -> Path:
    """The file of the tiny study, with its claims."""
    (folder / "claims.yaml").write_text(json.dumps({"alpha": 0.05, "claims": [CLAIM]}))
    content: Mapping[str, Any] = {
        "question": "Does it run?",
        "profile": "tiny",
        "seeds": 2,
        "arms": [str(ABLATIONS / f"{arm}.yaml") for arm in ARMS],
        "overrides": OVERRIDES,
        "declared_differences": ["objective", "head"],
        "claims": "claims.yaml",
    }
    (folder / "sweep.yaml").write_text(json.dumps(content))
    return folder / "sweep.yaml"


def main() -> None:
    """Sweep and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--a-study", type=int, default=10, help="kills of one study before it is left to finish")
    parser.add_argument(
        "--mean", type=float, default=8.0, help="seconds from when a process of the kind lives, on average"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ranks", type=int, default=1, help="of each run")
    parser.add_argument("--folder", type=Path, required=True, help="new folder; about 5 MB a study")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True)
    os.environ["UNIMM_CACHE"] = str(folder / "cache")
    began, moments, file = time.monotonic(), random.Random(options.seed), write_study(folder)
    reference = folder / "reference"
    lost, other = check(run_study(file, reference, 0, moments, 0, options.ranks).study, reference)
    assert not lost and not other, "a study that nobody kills finishes, and is itself"
    report: dict[str, Any] = {"kills": 0, "studies": 0, "lost": [], "doubled": [], "differ": {}, "by kind": Counter()}
    while report["kills"] < options.kills:
        study = folder / f"study{report['studies']}"
        few = min(options.a_study, options.kills - report["kills"])
        watch = run_study(file, study, few, moments, options.mean, options.ranks)
        lost, other = check(study, reference)
        report["kills"] += watch.kills.total()
        report["studies"] += 1
        report["lost"] += [f"{study.name}/{unit}" for unit in lost]
        report["doubled"] += sorted(watch.doubled)
        report["differ"] |= {f"{study.name}/{unit}": files for unit, files in other.items()}
        report["by kind"] += watch.kills
        print(f"{report['studies']} studies, {report['kills']} kills", file=sys.stderr, flush=True)
    runs = report["studies"] * len(ARMS) * 2
    print(json.dumps({**report, "runs": runs, "minutes": round((time.monotonic() - began) / 60, 1)}, indent=1))
    sys.exit(bool(report["lost"] or report["doubled"] or report["differ"]))


if __name__ == "__main__":
    main()
