"""From run folders to what verdicts read: scores by run or by prompt, learning curves, facts and guards.

Scores at equal generation samples are those of the finished runs on the test prompts. Scores at equal FLOPs are read
off the learning curves (validation prompts) at the FLOPs of the cheapest run, log-linear between checkpoints.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from operator import eq, lt

import numpy as np

from unimm.analysis.claims import Budget
from unimm.analysis.results import Curve, StudyResults
from unimm.report.schema import Result
from unimm.report.study_folder import Array, Items, Study, StudyRun
from unimm.report.study_guards import guards

Fact = Callable[[Result], bool | None]

# Scores that are means of task means over prompts, and the first word of their tasks' scores.
BY_PROMPT = {"geneval/overall": "geneval", "geneval_long/overall": "geneval_long"}
TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")


def evidence(study: Study) -> StudyResults:
    """Everything that the study's claims are decided on."""
    scores = {metric: _by_run(study, metric) for metric in sorted(study.metrics)}
    tasks = {metric: found for metric, kind in BY_PROMPT.items() if (found := _prompt_tasks(study, kind)) is not None}
    for metric in tasks:
        scores[metric] = {
            arm: np.array([_by_prompt(run, BY_PROMPT[metric]) for run in study.finished(arm)]) for arm in scores[metric]
        }
    curves = _curves(study)
    budgets: dict[Budget, Mapping[str, Mapping[str, Array]]] = {"generation_samples": scores}
    if curves and all(run.result.efficiency for run in study.all_runs):
        budgets["flops"] = {metric: _at_equal_flops(curves[metric]) for metric in curves}
    return StudyResults(
        setting=setting(study),
        scores=budgets,
        tasks=tasks,
        curves=curves,
        facts={name: _checked(study, check) for name, check in FACTS.items()},
        unfinished=Counter(arm for arm, _ in study.missing),
        guards=guards(study),
    )


def setting(study: Study) -> str:
    """Where the numbers hold: world, profile and size."""
    worlds = sorted({run.result.world for run in study.all_runs})
    sizes = [run.result.parameters.trainable / 1e6 for run in study.all_runs]
    if not sizes:
        return f"profile {study.plan.profile}"
    span = " to ".join(
        dict.fromkeys(f"{size:.1f}" if size >= 0.1 else f"{size:.2g}" for size in (min(sizes), max(sizes)))
    )
    return f"the world {' and '.join(worlds)}, profile {study.plan.profile}, {span} M trainable parameters"


def _by_run(study: Study, metric: str) -> dict[str, Array]:
    return {arm: study.values(arm, metric) for arm in study.plan.arms if study.finished(arm)}


def _prompt_tasks(study: Study, kind: str) -> list[str] | None:
    """The task of every prompt of GenEval's six tasks, or None unless every run scored the same prompts one by one.

    One prompt a task says nothing about how prompts vary: such scores are taken by run.
    """
    seen: list[tuple[str, ...]] = []
    for run in study.all_runs:
        if run.items is None or not any(f"{kind}/{task}" in run.items.scores for task in TASKS):
            return None
        seen.append(tuple(f"{row.tag} {row.prompt}" for row in run.items.prompts if row.tag in TASKS))
    if not seen or len(set(seen)) > 1:
        return None
    first = study.all_runs[0]
    assert first.items is not None
    tasks = [first.items.prompts[block[0]].tag for block in _blocks(first, first.items)]
    return tasks if min(Counter(tasks).values()) > 1 else None


def _by_prompt(run: StudyRun, kind: str) -> Array:
    """Score of every prompt, `[prompts]`: the mean over its images. Long wordings follow their short ones' order."""
    assert run.items is not None
    items = run.items
    correct = [
        items.scores[f"{kind}/{row.tag}"][i] if row.tag in TASKS else None for i, row in enumerate(items.prompts)
    ]
    return np.array([np.mean([float(correct[i] or 0) for i in block]) for block in _blocks(run, items)])


def _blocks(run: StudyRun, items: Items) -> list[list[int]]:
    """Positions of each prompt's images. The test repeats short texts, so that a text does not tell prompts apart."""
    size = int(run.result.config["evaluation"]["images_per_prompt"])  # type: ignore[index, call-overload, arg-type]
    positions = [i for i, row in enumerate(items.prompts) if row.tag in TASKS]
    assert len(positions) % size == 0, "every prompt of the six tasks has the same number of images"
    return [positions[begin : begin + size] for begin in range(0, len(positions), size)]


def _curves(study: Study) -> dict[str, dict[str, Curve]]:
    """Metric -> arm -> curves of all its runs, for arms whose runs were scored at the same two or more checkpoints."""
    found: dict[str, dict[str, Curve]] = {}
    for arm in study.plan.arms:
        runs = study.finished(arm)
        samples = [[point.samples for point in run.result.curve] for run in runs]
        if not samples or len(samples[0]) < 2 or any(row != samples[0] for row in samples):
            continue
        costs = _costs(runs, np.array(samples, dtype=float))
        for metric in runs[0].result.curve[0].scores:
            rows = [[point.scores.get(metric) for point in run.result.curve] for run in runs]
            found.setdefault(metric, {})[arm] = Curve(costs, np.array(rows, dtype=float))
    return found


def _costs(runs: Sequence[StudyRun], samples: Array) -> dict[Budget, Array]:
    """Samples so far at each checkpoint, and FLOPs, which are proportional to them, where they were counted."""
    costs: dict[Budget, Array] = {"generation_samples": samples}
    each = [run.result.efficiency.train_flops_per_sample for run in runs if run.result.efficiency]
    if len(each) == len(runs):
        costs["flops"] = samples * np.array(each)[:, None]
    return costs


def _at_equal_flops(curves: Mapping[str, Curve]) -> dict[str, Array]:
    """Scores of every run at the FLOPs of the cheapest run, `[seeds]`; NaN where the first checkpoint is later."""
    common = np.log(min(curve.costs["flops"][:, -1].min() for curve in curves.values()))

    def read_off(flops: Array, scores: Array) -> float:
        return float(np.interp(common, np.log(flops), scores, left=np.nan))

    return {
        arm: np.array([read_off(*run) for run in zip(curve.costs["flops"], curve.scores, strict=True)])
        for arm, curve in curves.items()
    }


def _checked(study: Study, check: Fact) -> dict[str, list[bool]]:
    """Arm -> whether the fact held in each run, for arms whose every run can say."""
    found = {}
    for arm in study.plan.arms:
        held = [known for run in study.finished(arm) if (known := check(run.result)) is not None]
        if held and len(held) == len(study.finished(arm)):
            found[arm] = held
    return found


def _over_resolution(quantity: str, holds: Callable[[int, int], bool]) -> Fact:
    """Whether `holds` of a quantity at every measured resolution and at the next higher one."""

    def check(result: Result) -> bool | None:
        values = [getattr(point, quantity) for point in sorted(result.resolution_scaling, key=lambda p: p.resolution)]
        return all(holds(*pair) for pair in pairwise(values)) if len(values) > 1 else None

    return check


# Fact -> whether it held in a run, or None if its result does not say.
FACTS: dict[str, Fact] = {
    "backbone_unchanged": lambda result: result.invariants.backbone_unchanged,
    "tokens_fixed_over_resolution": _over_resolution("tokens", eq),
    "tokens_grow_with_resolution": _over_resolution("tokens", lt),
    "cost_grows_with_resolution": _over_resolution("head_flops", lt),
}
