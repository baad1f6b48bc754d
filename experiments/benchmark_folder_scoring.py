"""How long `unimm score` takes on a folder of PNG images with every offline metric, and where the time goes.

    .venv/bin/python experiments/benchmark_folder_scoring.py --images 2000

Renders true scenes of the nano world at 64 pixels, eight for each prompt so that diversity can be scored too, writes
them as a user's folder would lie, and runs the command in a child process with two threads. Then it repeats the steps
one by one in this process. Wall seconds depend on what else the machine does; CPU seconds say what two free cores need.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from unimm.evaluation.folder import read_evidence, read_reference
from unimm.evaluation.suite import build_metrics, score_all
from unimm.foundation.folder import Foundation
from unimm.scenes.prompts import Metadata, prompt_set
from unimm.scenes.render import render
from unimm.scenes.stream import compose
from unimm.scenes.world import world
from unimm.schema import EvaluationConfig

FOUNDATION, WORLD, SIDE, PER_PROMPT, CORES = "scenes-nano", world("scenes-nano"), 64, 8, 2
T = TypeVar("T")


def distinct_prompts(count: int) -> list[Metadata]:
    """So many different prompts, as evenly over the tasks as small tasks allow."""
    for per_family in range(1, count + 1):
        found = list({str(prompt["prompt"]): prompt for prompt in prompt_set(WORLD, "test", per_family)}.values())
        if len(found) >= count:
            return [found[number * len(found) // count] for number in range(count)]
    raise ValueError(f"the world has no {count} different prompts: ask for fewer images")


def write_folder(folder: Path, images: int) -> Path:
    """PNGs of true scenes in `folder`/images, and their prompts beside it."""
    prompts = distinct_prompts(images // PER_PROMPT)
    (folder / "images").mkdir(parents=True)
    for number, metadata in enumerate(prompts):
        for image in range(PER_PROMPT):
            rng, scene = np.random.default_rng([number, image]), None
            while scene is None:
                scene = compose(metadata, WORLD, rng)
            Image.fromarray(render(scene, SIDE)).save(folder / "images" / f"{number:05d}_{image}.png")
    lines = folder / "prompts.jsonl"
    lines.write_text("".join(json.dumps(metadata) + "\n" for metadata in prompts), encoding="utf-8")
    return lines


def run_command(folder: Path, prompts: Path) -> None:
    """`unimm score` as a user runs it, with its progress bars."""
    command = [sys.executable, "-m", "unimm", "score", str(folder / "images"), "--prompts", str(prompts)]
    command += ["--images-per-prompt", str(PER_PROMPT), "--foundation", FOUNDATION]
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(CORES)})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    report("unimm score, all in all", time.monotonic() - started, cpu)


def run_steps(folder: Path, prompts: Path) -> None:
    """The same work step by step."""
    torch.set_num_threads(CORES)
    foundation = timed("loading the foundation", lambda: Foundation(FOUNDATION))
    evidence = timed("reading images", lambda: read_evidence(folder / "images", prompts, PER_PROMPT))
    reference = timed("drawing 1,000 real scenes", lambda: read_reference(foundation, None, foundation.resolution))
    evidence = replace(evidence, reference=reference)
    for name in EvaluationConfig().metrics:
        metrics = build_metrics([name], foundation)
        if metrics[0].needs <= evidence.given:
            timed(f"metric {name}", lambda metrics=metrics: score_all(metrics, evidence))


def timed(name: str, step: Callable[[], T]) -> T:
    """Run a step and print what it took."""
    wall, cpu = time.monotonic(), time.process_time()
    result = step()
    report(name, time.monotonic() - wall, time.process_time() - cpu)
    return result


def report(name: str, wall: float, cpu: float) -> None:
    """One line of the table."""
    print(f"{name:<28}{wall:>9.1f} s wall{cpu:>9.1f} s CPU", flush=True)


def main() -> None:
    """Parse the command line, make the folder, time it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    images = parser.parse_args().images
    load = os.getloadavg()[0]
    print(f"{images} images of {SIDE} pixels, {os.cpu_count()} cores, load of other work before the start {load:.1f}")
    with tempfile.TemporaryDirectory() as name:
        prompts = write_folder(Path(name), images)
        run_command(Path(name), prompts)
        run_steps(Path(name), prompts)


if __name__ == "__main__":
    main()
