"""A study's folder as `unimm study` leaves it, with planted effects: plan, results, items, curves and samples."""

from __future__ import annotations

import json
from collections.abc import Collection
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from unimm.runs.planned import config_hash, plan_hash
from unimm.runs.samples import write_sheet

CLAIMS = Path(__file__).parents[2] / "ablations" / "studies" / "claims.yaml"
HOSTILE = 'a photo of a <script>alert("x")</script> & a square | $5'
TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
PROMPTS, IMAGES, SAMPLES = 20, 2, 112_000
CHECKPOINTS = (3500, 7000, 14000, 28000, 56000, 84000, 112000)

# Planted: what each level adds to the fraction of whole prompts right, over a base of 0.30.
GENEVAL = {"clip": 0.10, "vae": -0.10, "flow_matching": 0.12, "mse": -0.12, "sequential": 0.0, "joint": 0.0}
DISTANCE = {"clip": 4.0, "vae": -4.0, "flow_matching": -6.0, "mse": 6.0, "sequential": 0.0, "joint": 0.0}
LEVELS = tuple(product(("clip", "vae"), ("flow_matching", "mse"), ("sequential", "joint")))
PROTOCOLS = {"geneval/overall": {"mean of": [f"geneval/{task}" for task in TASKS]}}


def arm_name(encoder: str, objective: str, strategy: str) -> str:
    joint = {"sequential": "", "joint": "_joint"}[strategy]
    return f"{encoder}_{ {'flow_matching': 'fm', 'mse': 'mse'}[objective] }{joint}"


ARMS = {arm_name(*levels): levels for levels in LEVELS}


def write_study(
    folder: Path, seeds: tuple[int, ...] = (0, 1, 2), missing: Collection[tuple[str, int]] = (), effects: bool = True
) -> Path:
    """The whole study but the `missing` runs; without `effects` all arms are alike."""
    arms = {}
    for arm, levels in ARMS.items():
        arms[arm] = {
            "file": f"ablations/{arm}.yaml",
            "hash": config_hash(config(arm, *levels)),
            "config": config(arm, *levels),
        }
        for seed in seeds:
            if (arm, seed) not in missing:
                write_run(folder / "runs" / arm / f"seed{seed}", arm, seed, effects)
    plan = {
        "schema_version": 1,
        "name": "design_choices",
        "question": "Which design choices of a unified model hold when they are repeated with <seeds>?",
        "profile": "nano",
        "created": "2026-11-24T10:00:00+00:00",
        "seeds": list(seeds),
        "arms": arms,
        "overrides": [],
        "declared_differences": ["encoder", "objective", "strategy"],
        "claims": yaml.safe_load(CLAIMS.read_text()),
        "amendments": [{"date": "2026-11-25", "reason": "a <b>typo</b>", "change": {"profile": "nano"}}],
    }
    return freeze(folder, plan)


def freeze(folder: Path, plan: dict[str, Any]) -> Path:
    """Write a plan with its hash."""
    (folder / "plan.json").write_text(json.dumps(plan | {"hash": plan_hash(plan)}))
    return folder


def config(arm: str, encoder: str, objective: str, strategy: str) -> dict[str, Any]:
    sizes = {"clip": {"grid": 4}, "vae": {"patch": 2}}
    guided = {"flow_matching": {"shift": None, "shift_base": 256.0, "guidance": 3.0, "steps": 25}, "mse": {}}
    return {
        "name": arm,
        "question": f"How good is {arm}?",
        "profile": "nano",
        "settings": "controlled",
        "foundation": "scenes-nano",
        "encoder": {"name": encoder, "standardise": True, **sizes[encoder]},
        "backbone": {"name": "causal_lm", "queries": 16},
        "head": {"name": "dit", "width": 192},
        "objective": {"name": objective, **guided[objective]},
        "strategy": {"name": strategy},
        "training": {
            "samples": SAMPLES,
            "batch_size": 32,
            "learning_rate": 0.001,
            "ema_decay": 0.999,
            "precision": "auto",
        },
        "sampling": {"decoder_steps": 5},
        "evaluation": {"images_per_prompt": IMAGES, "prompts_per_task": PROMPTS},
    }


def write_run(run_dir: Path, arm: str, seed: int, effects: bool = True) -> None:
    levels = ARMS[arm]
    rng = np.random.default_rng([seed, *map(ord, arm)])
    level = 0.30 + effects * sum(GENEVAL[name] for name in levels) + 0.012 * rng.standard_normal()
    prompts, items = judged(rng, level)
    tasks = {f"geneval/{task}": mean(items[f"geneval/{task}"]) for task in TASKS}
    overall = float(np.mean(list(tasks.values())))
    scores = {**tasks, "geneval/overall": overall, **other_scores(rng, levels, overall, effects)}
    run_dir.mkdir(parents=True)
    write_samples(run_dir, rng, prompts, overall)
    (run_dir / "items.json").write_text(json.dumps({"prompts": prompts, "scores": items}))
    (run_dir / "config.yaml").write_text(f"name: {arm}\n")
    (run_dir / "result.json").write_text(json.dumps(result(rng, arm, seed, scores, len(prompts), effects)))


def judged(rng: np.random.Generator, level: float) -> tuple[list[dict[str, str]], dict[str, list[float | None]]]:
    """Prompts, and for every task whether each image is right; prompts differ in difficulty, alike for every arm."""
    prompts, items = [], {f"geneval/{task}": [] for task in TASKS}
    for task in TASKS:
        for number in range(PROMPTS):
            text = HOSTILE if (task, number) == ("single_object", 0) else f"a photo of {task} {number % 15}"
            hard = 0.1 * np.sin(number + len(task))
            for _ in range(IMAGES):
                prompts.append({"prompt": text, "tag": task})
                for name, row in items.items():
                    own = name == f"geneval/{task}"
                    row.append(float(rng.random() < np.clip(level + hard, 0, 1)) if own else None)
    return prompts, items


def mean(items: list[float | None]) -> float:
    return float(np.mean([item for item in items if item is not None]))


def other_scores(rng: np.random.Generator, levels: tuple[str, ...], overall: float, effects: bool) -> dict[str, float]:
    _, objective, strategy = levels
    frozen = strategy == "sequential" or not effects
    mean_image = objective == "mse" and effects
    return {
        "atoms/overall": min(1.0, 0.35 + overall + 0.004 * rng.standard_normal()),
        "frechet_distance": 20 + effects * sum(DISTANCE[name] for name in levels) + 0.5 * rng.standard_normal(),
        "clip_score/a": 22 + 8 * overall + 0.1 * rng.standard_normal(),
        "diversity/latents/place_entropy": (0.0 if mean_image else 0.85) + 0.01 * abs(rng.standard_normal()),
        "diversity/latents/vendi": 1.0 if mean_image else 4 + 0.1 * rng.standard_normal(),
        "understanding/overall": 0.72 if frozen and effects else 0.72 - 0.2 * effects + 0.01 * rng.standard_normal(),
    }


def result(
    rng: np.random.Generator, arm: str, seed: int, scores: dict[str, float], images: int, effects: bool
) -> dict[str, Any]:
    encoder, _, strategy = ARMS[arm]
    joint = strategy == "joint"
    work = {"clip": 4.0e7, "vae": 9.0e7}[encoder] * (1.5 if joint else 1) if effects else 4.0e7
    curve = [
        {
            "step": n // 32,
            "samples": n,
            "n": 60,
            "scores": {k: grown(scores[k], n, rng) for k in ("geneval/overall", "atoms/overall")},
        }
        for n in CHECKPOINTS
    ]
    hashes = {"clip": "c11b", "vae": "7ae0", "features": "fea7", "evaluator_0": "e0e0", "head": f"{arm}{seed}"}
    return {
        "schema_version": 1,
        "arm": arm,
        "seed": seed,
        "profile": "nano",
        "world": "scenes-nano",
        "settings": "controlled",
        "device": "2 x x86_64 CPU",
        "started": f"2026-11-24T1{seed % 10}:{seed // 10 % 60:02}:{seed // 600:02}+00:00",
        "hashes": hashes,
        "scores": [
            {"name": k, "value": v, "n": count(k, images), "protocol": dict(PROTOCOLS.get(k, {}))}
            for k, v in scores.items()
        ],
        "floors": {
            "shuffled_prompts": {**each_task(0.04), "atoms/overall": 0.33},
            "blind": {"understanding/overall": 0.4},
        },
        "ceilings": {
            "real": {**each_task(1.0), "atoms/overall": 1.0},
            "decoder": {**each_task(0.93), "atoms/overall": 0.97, "frechet_distance": 0.1},
        },
        "counts": {
            "generation_samples": SAMPLES,
            "understanding_samples": 19840 + joint * SAMPLES,
            "steps": SAMPLES // 32,
        },
        "parameters": {"trainable": 3_028_176 + joint * 1_702_272, "frozen": 1_702_272 * (not joint)},
        "speed": {
            "samples_per_second": 220.0,
            "train_seconds": 500.0 + 100 * joint + seed,
            "score_seconds": 25.0,
            "wall_seconds": 560.0,
            "data_wait_fraction": 0.02,
        },
        "efficiency": {
            "train_flops_per_sample": work,
            "train_flops": work * SAMPLES,
            "sampling_flops_per_image": 3.0e9,
            "peak_memory_bytes": 2**30,
        },
        "resolution_scaling": [
            {"resolution": 64 * n, "tokens": tokens, "head_flops": 4_000_000 * tokens}
            for n, tokens in ((1, 16), (2, {"clip": 16, "vae": 64}[encoder]), (4, {"clip": 16, "vae": 256}[encoder]))
        ],
        "invariants": {"backbone_unchanged": None if joint else True},
        "versions": {"torch": "2.14.1", "unimm": "0.1.0"},
        "config": {**config(arm, *ARMS[arm]), "seed": seed},
        "curve": curve,
    }


def each_task(value: float) -> dict[str, float]:
    """A floor or ceiling that is the same in every task."""
    return dict.fromkeys(("geneval/overall", *(f"geneval/{task}" for task in TASKS)), value)


def count(name: str, images: int) -> int:
    """How many of the images have the score: those of its task, or all."""
    return images // len(TASKS) if name.removeprefix("geneval/") in TASKS else images


def grown(final: float, samples: int, rng: np.random.Generator) -> float:
    """A score on its way to `final`, linear in the logarithm of samples."""
    part = np.log(samples / 1000) / np.log(SAMPLES / 1000)
    return float(np.clip(final * part + 0.005 * rng.standard_normal(), 0, 1))


def write_samples(run_dir: Path, rng: np.random.Generator, prompts: list[dict[str, str]], level: float) -> None:
    rows, images = [], []
    for index in range(0, len(prompts), len(prompts) // 12):
        image = np.full((32, 32, 3), 128, dtype=np.uint8)
        x, y = rng.integers(2, 18, 2)
        image[y : y + 12, x : x + 12] = rng.integers(0, 256, 3)
        images.append(image)
        rows.append({**prompts[index], "correct": bool(rng.random() < level), "index": index})
    write_sheet(run_dir, np.stack(images), rows)
