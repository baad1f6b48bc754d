"""How fast arms train, against an earlier commit: both trees side by side, in alternating pairs, through the command.

    python experiments/benchmark_training.py --base b78fe53 clip_fm clip_fm_joint
    python experiments/benchmark_training.py --base b78fe53 --plain clip_fm

Each measurement starts `unimm run` in a folder of its own, reads seconds and samples from its `metrics.jsonl` after a
warm-up of a quarter of the steps, and ends the run. Trees take turns, so that what else the machine does meets both; a
pair's ratio is what counts, and the table has the median of pairs with their range. Start-up, scoring and what is
computed once (latents, prompts' states, compiled kernels: each tree has a cache of its own, filled before) are not in
it. Words with `=` are overrides for both trees, `--new` gives those of this tree alone. ``--plain`` lets
`plain_loop.py` take a third turn. Memory is the most that a run's process held in the stretch that was timed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

HERE = Path(__file__).parents[1]
UNIMM = Path(sys.executable).with_name("unimm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("arms", nargs="+", metavar="ARM or KEY=VALUE")
    parser.add_argument("--base", required=True, help="commit to compare with")
    parser.add_argument("--new", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--plain", action="store_true", help="also the plain loop, for sequential arms")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the run being measured ends too
    overrides = [word for word in chosen.arms if "=" in word]
    arms = [word for word in chosen.arms if "=" not in word]
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch) / "base"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", base, chosen.base], cwd=HERE, check=True)
        try:
            print(f"samples/s, {chosen.threads} threads; ratios are the median of {chosen.pairs} pairs (range)")
            print(f"| arm | {chosen.base} | this tree | ratio | memory's ratio | plain loop | ratio to it |")
            print("| --- | --- | --- | --- | --- | --- | --- |")
            for arm in arms:
                turns = [(base, overrides), (HERE, overrides + chosen.new)]
                print(_row(arm, chosen, turns, overrides, Path(scratch)), flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", base], cwd=HERE, check=True)


class Measured(NamedTuple):
    """Samples a second, and the most bytes that the process held."""

    rate: float
    memory: float


def _row(
    arm: str, chosen: argparse.Namespace, trees: list[tuple[Path, list[str]]], overrides: list[str], scratch: Path
) -> str:
    def turn(steps: int) -> tuple[list[Measured], float]:
        runs = [measured(tree, arm, words, steps, chosen.threads, scratch) for tree, words in trees]
        return runs, plain_rate(arm, overrides, steps, chosen.threads, scratch) if chosen.plain else float("nan")

    turn(20)  # fills the caches
    turns = [turn(chosen.steps) for _ in range(chosen.pairs)]
    before, after = (median(runs[tree].rate for runs, _ in turns) for tree in (0, 1))
    ratios = [runs[1].rate / runs[0].rate for runs, _ in turns]
    memory = [runs[1].memory / runs[0].memory for runs, _ in turns]
    row = f"| {arm} | {before:.1f} | {after:.1f} | {_spread(ratios)} | {_spread(memory)} |"
    if not chosen.plain:
        return f"{row} - | - |"
    plain = [runs[1].rate / loop for runs, loop in turns]
    return f"{row} {median(loop for _, loop in turns):.1f} | {_spread(plain)} |"


def _spread(ratios: list[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _environment(tree: Path, threads: int, scratch: Path) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(tree / "src"),
        "OMP_NUM_THREADS": str(threads),
        "UNIMM_CACHE": str(scratch / f"cache-{tree.name}"),
    }


def plain_rate(arm: str, overrides: list[str], steps: int, threads: int, scratch: Path) -> float:
    """Samples a second of the plain loop."""
    command = [sys.executable, str(HERE / "experiments" / "plain_loop.py"), arm, *overrides, "--steps", str(steps)]
    done = subprocess.run(command, env=_environment(HERE, threads, scratch), capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def measured(tree: Path, arm: str, overrides: list[str], steps: int, threads: int, scratch: Path) -> Measured:
    """One run's samples a second after a quarter of its ``steps``, and its memory at their end."""
    out, log = Path(tempfile.mkdtemp(dir=scratch)), scratch / "log.txt"
    command = [str(UNIMM), "run", str(tree / "ablations" / f"{arm}.yaml"), "--out", str(out / "run"), *overrides]
    with log.open("w") as stream:
        run = subprocess.Popen(
            command, env=_environment(tree, threads, scratch), cwd=tree, stdout=stream, stderr=subprocess.STDOUT
        )
        rows: list[dict[str, float]] = []
        try:
            while run.poll() is None and (not rows or rows[-1]["step"] < steps):
                time.sleep(0.2)
                rows = _rows(out / "run" / "metrics.jsonl")
            memory = _most_held(run.pid) if run.poll() is None else 0.0
        finally:
            run.kill()
            run.wait()
    shutil.rmtree(out)
    if not rows or rows[-1]["step"] < steps:
        raise SystemExit(f"{arm} of {tree} ended early:\n{log.read_text()[-2000:]}")
    first, last = next(row for row in rows if row["step"] >= steps / 4), rows[-1]
    return Measured((last["samples"] - first["samples"]) / (last["seconds"] - first["seconds"]), memory)


def _most_held(pid: int) -> float:
    """The peak resident bytes of a living process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return 1024 * float(line.split()[1])


def _rows(path: Path) -> list[dict[str, float]]:
    """The whole rows of a log that is being written."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


if __name__ == "__main__":
    main()
