"""What scoring a run costs, against an earlier commit: both trees score one run, in alternating pairs.

    python experiments/benchmark_scoring.py --base b78fe53 clip_fm clip_mse
    python experiments/benchmark_scoring.py --base b78fe53 clip_fm evaluation.prompts_per_task=10 --pairs 3

The earlier commit trains two steps of an arm; then each tree in turn samples, judges and measures these weights with
`unimm score`, in a child with one thread. Counted are CPU seconds of the whole child, imports included, as other work
on the machine moves them least. Each tree has a cache of its own: ``first`` is a turn with an empty one, the others
find what earlier runs of a study left there. Words with `=` are overrides for both trees. The last column is the
largest difference between the trees in a score that both have, as a share of it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

HERE = Path(__file__).parents[1]
UNIMM = Path(sys.executable).with_name("unimm")
STEPS = ("training.samples=64", "training.batch_size=32", "training.warmup_steps=1", "training.snapshots=8")


def main() -> None:
    """Parse the command line, put the earlier commit beside this tree, print a row an arm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("arms", nargs="+", metavar="ARM or KEY=VALUE")
    parser.add_argument("--base", required=True, help="commit to compare with")
    parser.add_argument("--pairs", type=int, default=5, help="turns of both trees after the first")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the child being measured ends too
    overrides = [word for word in chosen.arms if "=" in word]
    with tempfile.TemporaryDirectory() as name:
        scratch, base = Path(name), Path(name) / "base"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", base, chosen.base], cwd=HERE, check=True)
        try:
            print(
                f"| arm | images | {chosen.base}, s | this tree, s | ratio | first: s | s | ratio | scores differ by |"
            )
            print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
            for arm in (word for word in chosen.arms if "=" not in word):
                print(_row(arm, overrides, base, chosen.pairs, scratch), flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", base], cwd=HERE, check=True)


def _row(arm: str, overrides: list[str], base: Path, pairs: int, scratch: Path) -> str:
    trees = {base: scratch / f"{arm}-base", HERE: scratch / f"{arm}-here"}
    words = [str(base / "ablations" / f"{arm}.yaml"), "--out", str(trees[base]), *STEPS, *overrides]
    cpu_seconds(base, ["run", *words], scratch)
    shutil.rmtree(scratch / f"cache-{base.name}")
    shutil.copytree(trees[base], trees[HERE])
    turns = [[cpu_seconds(tree, ["score", str(run)], scratch) for tree, run in trees.items()] for _ in range(pairs + 1)]
    found = [json.loads((run / "result.json").read_text()) for run in trees.values()]
    images = len(json.loads((trees[HERE] / "items.json").read_text())["prompts"])
    sampled = f"{images} + {sum(point['n'] for point in found[1]['curve'])}"
    cells = [arm, sampled, *_seconds(turns[1:] or turns), *_seconds(turns[:1]), f"{_difference(*found):.1e}"]
    return f"| {' | '.join(cells)} |"


def _seconds(turns: list[list[float]]) -> list[str]:
    """Medians of both trees, and of the ratios of pairs."""
    before, after = (median(column) for column in zip(*turns, strict=True))
    return [f"{before:.1f}", f"{after:.1f}", f"{median(pair[1] / pair[0] for pair in turns):.2f}"]


def _difference(one: dict, other: dict) -> float:
    values = [{score["name"]: score["value"] for score in found["scores"]} for found in (one, other)]
    shared = [(values[0][name], values[1][name]) for name in values[0].keys() & values[1].keys()]
    return max(abs(a - b) / max(abs(a), 1e-9) for a, b in shared if a is not None and b is not None)


def cpu_seconds(tree: Path, arguments: list[str], scratch: Path) -> float:
    """CPU seconds of one `unimm` of a tree; its output is shown where it fails."""
    environment = os.environ | {
        "PYTHONPATH": str(tree / "src"),
        "OMP_NUM_THREADS": "1",
        "UNIMM_CACHE": str(scratch / f"cache-{tree.name}"),
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([str(UNIMM), *arguments], cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"unimm {' '.join(arguments)} of {tree} failed:\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
