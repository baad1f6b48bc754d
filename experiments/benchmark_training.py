"""How fast arms train, against an earlier commit: both trees side by side, in alternating pairs, through the command.

    python experiments/benchmark_training.py --base b78fe53 clip_fm clip_fm_joint

Each measurement starts `unimm run` in a folder of its own, reads seconds and samples from its `metrics.jsonl` after a
warm-up of a quarter of the steps, and ends the run. Trees take turns, so that what else the machine does meets both; a
pair's ratio is what counts, and the table has the median of pairs with their range. Start-up, scoring and what is
computed once (latents, prompts' states, compiled kernels: each tree has a cache of its own, filled before) are not in
it. Words with `=` are overrides for both trees, `--new` gives those of this tree alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).parents[1]
UNIMM = Path(sys.executable).with_name("unimm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("arms", nargs="+", metavar="ARM or KEY=VALUE")
    parser.add_argument("--base", required=True, help="commit to compare with")
    parser.add_argument("--new", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    overrides = [word for word in chosen.arms if "=" in word]
    arms = [word for word in chosen.arms if "=" not in word]
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch) / "base"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", base, chosen.base], cwd=HERE, check=True)
        try:
            print(f"| arm | {chosen.base}, samples/s | this tree, samples/s | ratio of pairs (range) |")
            print("| --- | --- | --- | --- |")
            for arm in arms:
                print(_row(arm, chosen, [(base, overrides), (HERE, overrides + chosen.new)], Path(scratch)), flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", base], cwd=HERE, check=True)


def _row(arm: str, chosen: argparse.Namespace, trees: list[tuple[Path, list[str]]], scratch: Path) -> str:
    def both(steps: int) -> list[float]:
        return [rate(tree, arm, words, steps, chosen.threads, scratch) for tree, words in trees]

    both(20)  # fills the caches
    pairs = [both(chosen.steps) for _ in range(chosen.pairs)]
    before, after = (median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(new / old for old, new in pairs)
    return f"| {arm} | {before:.1f} | {after:.1f} | {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"


def rate(tree: Path, arm: str, overrides: list[str], steps: int, threads: int, scratch: Path) -> float:
    """Samples a second of one run after a quarter of its ``steps``."""
    out, log = Path(tempfile.mkdtemp(dir=scratch)), scratch / "log.txt"
    environment = os.environ | {
        "PYTHONPATH": str(tree / "src"),
        "OMP_NUM_THREADS": str(threads),
        "UNIMM_CACHE": str(scratch / f"cache-{tree.name}"),
    }
    command = [UNIMM, "run", tree / "ablations" / f"{arm}.yaml", "--out", out / "run", *overrides]
    with log.open("w") as stream:
        run = subprocess.Popen(command, env=environment, cwd=tree, stdout=stream, stderr=subprocess.STDOUT)
        rows: list[dict[str, float]] = []
        while run.poll() is None and (not rows or rows[-1]["step"] < steps):
            time.sleep(0.2)
            rows = _rows(out / "run" / "metrics.jsonl")
        run.kill()
        run.wait()
    shutil.rmtree(out)
    if not rows or rows[-1]["step"] < steps:
        raise SystemExit(f"{arm} of {tree} ended early:\n{log.read_text()[-2000:]}")
    first, last = next(row for row in rows if row["step"] >= steps / 4), rows[-1]
    return (last["samples"] - first["samples"]) / (last["seconds"] - first["seconds"])


def _rows(path: Path) -> list[dict[str, float]]:
    """The whole rows of a log that is being written."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


if __name__ == "__main__":
    main()
