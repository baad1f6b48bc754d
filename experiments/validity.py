"""The numbers of docs/validity.md, taken again from the committed results: what could make a finding wrong.

    python experiments/validity.py facets        # or another check; without one, all of them

Reads `result.json`, `items.json` and `trial.json` below reports/ alone, trains and samples nothing, and uses none of
the code that gave the verdicts. Intervals are t intervals of differences by seed, 95 %, unadjusted and exploratory:
a claim that was fixed beforehand is tested by the study's report, not here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr, t

REPORTS = Path(__file__).parents[1] / "reports"
STUDIES = ("design_choices", "as_published", "caption_mix", "instruction_data")
FLOW, SEEDS = ("clip_fm", "vae_fm", "clip_fm_joint", "vae_fm_joint"), (0, 1, 2)
ARMS = ("clip_fm", "vae_fm", "clip_mse", "vae_mse")
Run = dict[str, Any]


def run(arm: str, seed: int, study: str = "design_choices") -> Run:
    """One result, its scores by name."""
    found: Run = json.loads((REPORTS / study / "runs" / arm / f"seed{seed}" / "result.json").read_text())
    return found | {"score": {s["name"]: s["value"] for s in found["scores"]}, "error": _errors(found)}


def _errors(result: Run) -> dict[str, float | None]:
    return {s["name"]: s.get("stderr") for s in result["scores"]}


def by_seed(arm: str, name: str, study: str = "design_choices") -> np.ndarray:
    """A score of every seed."""
    return np.array([run(arm, seed, study)["score"][name] for seed in SEEDS], dtype=float)


def interval(differences: np.ndarray) -> str:
    """Mean, 95 % t interval over seeds, and each seed's value."""
    reach = t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / np.sqrt(len(differences))
    mean, each = differences.mean(), ", ".join(f"{value:+.3f}" for value in differences)
    return f"{mean:+.3f} ({mean - reach:+.3f} to {mean + reach:+.3f}; seeds {each})"


def facets() -> Iterator[str]:
    """CLIP features against VAE latents under flow matching, fact by fact and task by task."""
    kinds = [f"atoms/{kind}" for kind in ("object", "shape", "colour", "count", "relation")]
    tasks = ("single_object", "two_object", "counting", "colors", "position", "color_attr", "overall")
    for name in [*kinds, *(f"geneval/{task}" for task in tasks)]:
        clip, vae = by_seed("clip_fm", name), by_seed("vae_fm", name)
        yield f"{name}: clip_fm {clip.mean():.3f}, vae_fm {vae.mean():.3f}, difference {interval(clip - vae)}"


def confounds() -> Iterator[str]:
    """In what the two arms differ besides what is predicted."""
    for arm in ("clip_fm", "vae_fm"):
        found = run(arm, 0)
        tokens = {point["resolution"]: point["tokens"] for point in found["resolution_scaling"]}
        training, objective = found["config"]["training"], found["config"]["objective"]
        yield (
            f"{arm}: tokens by side in pixels {tokens}, learning rate {training['learning_rate']}, "
            f"shift {objective['shift']} with base {objective['shift_base']}, guidance {objective['guidance']}, "
            f"ceiling through its decoder {found['ceilings']['decoder']['geneval/overall']:.3f}"
        )


def reach() -> Iterator[str]:
    """Samples until 0.45 of single facts, log-linear between checkpoints, at the one learning rate of the study."""
    ratios = []
    for seed in SEEDS:
        cost = {arm: _crossing(run(arm, seed)["curve"], "atoms/overall", 0.45) for arm in ("clip_fm", "vae_fm")}
        ratios.append(cost["vae_fm"] / cost["clip_fm"])
        yield f"seed {seed}: clip_fm {cost['clip_fm']:,.0f}, vae_fm {cost['vae_fm']:,.0f}, ratio {ratios[-1]:.2f}"
    yield f"geometric mean of the ratios {np.exp(np.log(ratios).mean()):.2f}"


def _crossing(curve: list[Run], name: str, target: float) -> float:
    before: tuple[float, float] | None = None
    for point in curve:
        samples, value = point["samples"], point["scores"][name]
        if value >= target:
            if before is None:
                return float(samples)
            share = (target - before[1]) / (value - before[1])
            return float(np.exp(np.log(before[0]) + share * (np.log(samples) - np.log(before[0]))))
        before = samples, value
    raise ValueError(f"{name} never reaches {target}")


def understanding() -> Iterator[str]:
    """Joint less sequential arms: as scored, without the image, and above their own scores without the image."""
    kinds = [f"understanding/{kind}" for kind in ("overall", "exists", "count", "colour", "relation")]
    for name in [*kinds, "descriptions/objects", "descriptions/exact"]:
        seen, blind = _joint_less_sequential(name, False), _joint_less_sequential(name, True)
        yield f"{name}: as scored {interval(seen)}; blind {interval(blind)}; above blind {interval(seen - blind)}"
    frozen = run("clip_fm", 0)
    for name in kinds:
        yield f"frozen backbone, {name}: {frozen['score'][name]:.3f}, blind {frozen['floors']['blind'][name]:.3f}"


def _joint_less_sequential(name: str, blind: bool) -> np.ndarray:
    def value(arm: str, seed: int) -> float:
        found = run(arm, seed)
        return float(found["floors"]["blind"][name] if blind else found["score"][name])

    return np.array([np.mean([value(f"{arm}_joint", s) - value(arm, s) for arm in ARMS]) for s in SEEDS])


def foundation() -> Iterator[str]:
    """How many draws of each pretrained part all committed runs together have seen."""
    found: dict[str, set[str]] = {}
    runs = [path for study in STUDIES for path in (REPORTS / study / "runs").glob("*/seed*/result.json")]
    for path in runs:
        for part, value in json.loads(path.read_text())["hashes"].items():
            if part not in ("head", "backbone") and isinstance(value, str):
                found.setdefault(part, set()).add(value)
    yield f"{len(runs)} runs: " + ", ".join(f"{part} {len(values)}" for part, values in found.items())


def diversity() -> Iterator[str]:
    """Regression's images of one prompt are equal by construction, so that its diversity has no spread."""
    for arm in ("clip_fm", "clip_mse"):
        found = [run(arm, seed) for seed in SEEDS]
        values = ", ".join(f"{one['score']['diversity/latents/place_entropy']:.3f}" for one in found)
        counts = [s["n"] for one in found for s in one["scores"] if s["name"] == "diversity/latents/place_entropy"]
        equal = {one["score"]["diversity/latents/identical"] for one in found}
        yield f"{arm}: place entropy {values} over {counts} images, share of prompts with equal images {equal}"


def distances() -> Iterator[str]:
    """Errors within a run and over seeds of distances, and whether they rank prompt following."""
    name = "frechet_distance"
    for study, arms in (("design_choices", ("clip_fm", "vae_fm")), ("as_published", ("clip_fm", "vae_fm"))):
        for arm in arms:
            found = [run(arm, seed, study) for seed in SEEDS]
            values = ", ".join(f"{one['score'][name]:.0f} ± {one['error'][name]:.0f}" for one in found)
            yield f"{study}, {arm}: {values}; spread over seeds {by_seed(arm, name, study).std(ddof=1):.0f}"
    kept = ("geneval/overall", name, "kernel_distance")
    following, frechet, kernel = (np.concatenate([by_seed(arm, key) for arm in FLOW]) for key in kept)
    for words, pair in {
        "Fréchet distance and prompt following": (frechet, following),
        "kernel distance and prompt following": (kernel, following),
        "Fréchet and kernel distance": (frechet, kernel),
    }.items():
        yield f"rank correlation over {len(frechet)} flow matching runs, {words}: {spearmanr(*pair).statistic:+.2f}"


def prompts() -> Iterator[str]:
    """How many different texts the scored prompts are, and the arms' scores of the two hardest tasks."""
    path = REPORTS / "design_choices/runs/clip_fm/seed0/items.json"
    texts: dict[str, list[str]] = {}
    for prompt in json.loads(path.read_text())["prompts"]:
        texts.setdefault(prompt["tag"], []).append(prompt["prompt"])
    scored = {tag: found for tag, found in texts.items() if tag not in ("held_out", "seen")}
    yield "; ".join(f"{tag}: {len(set(found))} texts, {len(found)} images" for tag, found in scored.items())
    for name in ("geneval/position", "geneval/color_attr", "combinations/held_out", "combinations/seen"):
        values = [by_seed(arm, name) for arm in FLOW]
        yield f"{name}: {np.min(values):.3f} to {np.max(values):.3f} over the flow matching runs"


def sequential() -> Iterator[str]:
    """Sequential less joint flow matching arms, by seed, and what the FLOPs of either hold."""
    less = [by_seed("clip_fm", "geneval/overall") - by_seed("clip_fm_joint", "geneval/overall")]
    less += [by_seed("vae_fm", "geneval/overall") - by_seed("vae_fm_joint", "geneval/overall")]
    yield f"whole prompts at equal samples: {interval(np.mean(less, axis=0))}"
    for arm in FLOW:
        found = run(arm, 0)
        flops, counts = found["efficiency"]["train_flops"] / 1e12, found["counts"]
        yield f"{arm}: {flops:.1f} TFLOP counted, {counts['understanding_samples']:,} understanding samples in all"


def tuning() -> Iterator[str]:
    """What the committed tuning compared, and what the learning rate alone brought clip_fm."""
    equal = total = 0
    for path in sorted((REPORTS / "tuning/trials").glob("*/*/trial.json")):
        found: dict[tuple[Any, ...], set[float]] = {}
        looks = json.loads(path.read_text())["evaluations"]
        for look in looks:
            rest = tuple(value for key, value in look["settings"].items() if key != "training.ema_decay")
            found.setdefault(rest, set()).add(look["value"])
        others = sum(look["settings"]["training.ema_decay"] != 0.999 for look in looks)
        total, equal = total + others, equal + others * all(len(values) == 1 for values in found.values())
    yield f"averages with another decay that score as 0.999 does: {equal} of {total}"
    for number in range(8):
        record = json.loads((REPORTS / f"tuning/trials/clip_fm/trial{number}/trial.json").read_text())
        params = record["settings"]["params"]
        guidance = {
            look["settings"]["objective.guidance"]: f"{look['value']:.3f}"
            for look in record["evaluations"]
            if look["settings"]["training.ema_decay"] == 0.999
        }
        yield f"clip_fm trial {number}: {params or 'as it stands'}; single facts by guidance {guidance}"


CHECKS: dict[str, Callable[[], Iterator[str]]] = {
    check.__name__: check
    for check in (
        facets, confounds, reach, understanding, foundation, diversity, distances, prompts, sequential, tuning
    )
}  # fmt: skip


def main() -> None:
    """Print the lines of one check or of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", nargs="?", choices=[*CHECKS], help="one check; all of them by default")
    chosen = parser.parse_args().check
    for name, check in CHECKS.items():
        if chosen in (None, name):
            print(f"{name}: {check.__doc__}")
            for line in check():
                print(f"  {line}")


if __name__ == "__main__":
    main()
