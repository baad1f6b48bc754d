"""From run folders to what verdicts read: scores by run or by prompt, learning curves, facts and guards.

Scores at equal generation samples are those of the finished runs on the test prompts. Scores at equal FLOPs are read
off the learning curves (validation prompts) at the FLOPs of the cheapest run, log-linear between checkpoints. What a
score could be at worst and at best are the floors and ceilings that runs measured beside it. Where seeds are dealt
draws of the foundation, rows are the means of draws (`unimm.analysis.draws`).

Guards are the conditions without which a claim is untestable, checked on the runs of the arms that it names. Those of
`every_claim` hold for all claims; these a claim names itself.

    complete               every planned run is finished and measured the metric, over the same number of items, under
                           the same protocol, entry by entry, and not with the bias of too few images
    budgets_match          the arms spent the same of the claim's budget
    judge_passes           the judge accepts real scenes
    evaluator_independent  the features and evaluators that score are not what the arm trains against
    within_range           the arms do not all sit at the floor, or all at the ceiling, where nothing can differ; for a
                           claim of "no worse", none of them does
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import isfinite
from operator import eq, lt

import numpy as np

from unimm.analysis.claims import Budget, Claim, Claims, Invariant
from unimm.analysis.draws import by_draw
from unimm.analysis.results import Curve, Guard, StudyResults
from unimm.evaluation.words import card_of
from unimm.foundation.card import is_judging
from unimm.report.study.by_item import ByItem, by_item, why_by_run
from unimm.report.study.every_claim import arms_of, judge_card, named_runs, runs_count, same_foundation
from unimm.report.study.first_stages import first_stages
from unimm.report.study.folder import Array, Study, StudyRun
from unimm.report.study.limits import complete, within_range
from unimm.report.study.scored import ScoredStudy
from unimm.runs.record import Result

JUDGE_AT_LEAST = 0.99
Fact = Callable[[Result], bool | None]
Check = Callable[[Study, Claim], str | None]
EVERY_CLAIM: dict[str, Check] = {"runs_count": runs_count, "same_foundation": same_foundation}


def of_every_claim(claims: Claims, metrics: Collection[str]) -> dict[str, Check]:
    """Guards of all claims; that of cards stands where runs (their ``metrics``) or claims have scores that need one."""
    claimed = {claim.metric for claim in claims.claims if not isinstance(claim, Invariant)}
    return EVERY_CLAIM | ({"judge_card": judge_card} if any(map(card_of, claimed | set(metrics))) else {})


def guards(study: Study) -> dict[str, Guard]:
    """Guard -> function that gives None if a claim passes, and otherwise what was found."""
    checks = GUARDS | of_every_claim(study.plan.claims, study.metrics)
    return {name: partial(check, study) for name, check in checks.items()}


def _complete(study: Study, claim: Claim) -> str | None:
    return runs_count(study, claim) or complete(study, claim)


def _budgets_match(study: Study, claim: Claim) -> str | None:
    assert not isinstance(claim, Invariant), "claims files give invariants no budget"
    if claim.budget == "flops":
        # Scores are read off the learning curves at one common number of FLOPs: equal by construction.
        unknown = [name for name, run in named_runs(study.runs, claim) if _flops_each(run) is None]
        return f"FLOPs were not recorded in {'; '.join(unknown)}" if unknown else None
    spent = {
        (run.result.counts.generation_samples, run.result.counts.steps) for _, run in named_runs(study.runs, claim)
    }
    if len(spent) == 1:
        return None
    return "arms spent " + "; ".join(f"{samples:,} samples in {steps:,} steps" for samples, steps in sorted(spent))


def _judge_passes(study: Study, claim: Claim) -> str | None:
    if not isinstance(claim, Invariant) and card_of(claim.metric):
        return judge_card(study, claim)
    for name, run in named_runs(study.runs, claim):
        accepted = run.result.ceilings.get("real", {}).get("geneval/overall")
        if accepted is None or not isfinite(accepted):
            return f"{name}: the judge was not tried on real scenes"
        if accepted < JUDGE_AT_LEAST:
            return f"{name}: the judge accepts {accepted:.1%} of real scenes, less than {JUDGE_AT_LEAST:.0%}"
    return None


def _evaluator_independent(study: Study, claim: Claim) -> str | None:
    for arm in arms_of(claim):
        target = study.plan.arms[arm].component("encoder")
        for run in study.finished(arm):
            hashes = run.result.hashes
            evaluators = {key: value for key, value in hashes.items() if is_judging(key)}
            if target not in hashes or not evaluators:
                return f"{arm}: the weights of {target} or of the evaluators have no recorded hash"
            same = [name for name, value in evaluators.items() if value == hashes[target]]
            if same:
                return f"{arm} trains against {target}, whose weights are also {', '.join(same)}"
    return None


def evidence(study: Study) -> StudyResults:
    """Everything that the study's claims are decided on."""
    scores = {metric: _by_run(study, metric) for metric in sorted(study.metrics)}
    items = {metric: found for metric in scores if (found := by_draw_and_item(study, by_item(study, metric)))}
    scores |= {metric: found.scores for metric, found in items.items()}
    curves = _curves(study)
    budgets: dict[Budget, Mapping[str, Mapping[str, Array]]] = {"generation_samples": scores}
    if curves and all(_flops_each(run) for run in study.all_runs):
        budgets["flops"] = {metric: at_equal_flops(curves[metric]) for metric in curves}
    return StudyResults(
        setting=setting(study),
        scores=budgets,
        tasks={metric: found.strata for metric, found in items.items()},
        texts={metric: found.texts for metric, found in items.items()},
        units={metric: found.units for metric, found in items.items()},
        image_noise={metric: found.noise for metric, found in items.items() if found.noise},
        questions=questions(study),
        first_stage=first_stages(study.plan),
        draws=len(study.plan.dealt),
        seeds_a_draw=len(study.plan.seeds) // len(study.plan.dealt) if study.plan.dealt else 1,
        curves=curves,
        facts={name: _checked(study, check) for name, check in FACTS.items()},
        unfinished=Counter(arm for arm, _ in study.missing),
        guards=guards(study),
        every_claim=tuple(of_every_claim(study.plan.claims, study.metrics)),
        why_by_run={name: why for name in scores.keys() - items.keys() if (why := why_by_run(study, name))},
    )


def questions(study: Study) -> set[str]:
    """Metrics that score answers to questions about images: those that have a score without the image."""
    return {name for run in study.all_runs for name in run.result.floors.get("blind", {})}


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
    found = {arm: study.values(arm, metric) for arm in study.plan.arms if study.finished(arm)}
    return {arm: by_draw(study.draws(arm), values) for arm, values in found.items()}


def by_draw_and_item(study: ScoredStudy, found: ByItem | None) -> ByItem | None:
    """Scores by item of every draw of the foundation where seeds are dealt some, else as they were found."""
    if found is None or not found.scores or not study.draws(next(iter(found.scores))):
        return found
    scores = {arm: by_draw(study.draws(arm), rows) for arm, rows in found.scores.items()}
    noise = {arm: value * len(scores[arm]) / len(found.scores[arm]) for arm, value in found.noise.items()}
    return found._replace(scores=scores, noise=noise)


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
            rows = np.array([[point.scores.get(metric) for point in run.result.curve] for run in runs], dtype=float)
            found.setdefault(metric, {})[arm] = curve_by_draw(study.draws(arm), Curve(costs, rows))
    return found


def curve_by_draw(draws: Sequence[str], curve: Curve) -> Curve:
    """The curves of an arm, a row a draw where its seeds are dealt some."""
    costs = {budget: by_draw(draws, rows) for budget, rows in curve.costs.items()}
    return Curve(costs, by_draw(draws, curve.scores))


def _costs(runs: Sequence[StudyRun], samples: Array) -> dict[Budget, Array]:
    """Samples so far at each checkpoint, and FLOPs, which are proportional to them, where they were counted."""
    costs: dict[Budget, Array] = {"generation_samples": samples}
    each = [found for run in runs if (found := _flops_each(run))]
    if len(each) == len(runs):
        costs["flops"] = samples * np.array(each)[:, None]
    return costs


def _flops_each(run: StudyRun) -> float | None:
    """FLOPs of training on one sample, None where they were not counted or are no number above 0."""
    each = run.result.efficiency.train_flops_per_sample if run.result.efficiency else 0.0
    return each if isfinite(each) and each > 0 else None


def at_equal_flops(curves: Mapping[str, Curve]) -> dict[str, Array]:
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
GUARDS: dict[str, Check] = {
    "complete": _complete,
    "budgets_match": _budgets_match,
    "judge_passes": _judge_passes,
    "evaluator_independent": _evaluator_independent,
    "within_range": within_range,
    **EVERY_CLAIM,
}
FACTS: dict[str, Fact] = {
    "backbone_unchanged": lambda result: result.invariants.backbone_unchanged,
    "tokens_fixed_over_resolution": _over_resolution("tokens", eq),
    "tokens_grow_with_resolution": _over_resolution("tokens", lt),
    "cost_grows_with_resolution": _over_resolution("head_flops", lt),
}
