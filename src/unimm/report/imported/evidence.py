"""From an imported table to what verdicts read, as `unimm.report.study.evidence` does from run folders.

Guards look at what the table has. What a guard would need and the table lacks is not known: the claim is decided all
the same, and the page says on its first screen which guards nobody checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from unimm.analysis.claims import Budget, Claim, Invariant
from unimm.analysis.draws import by_draw
from unimm.analysis.results import Curve, Guard, NotKnown, StudyResults
from unimm.evaluation.words import card_of
from unimm.report.imported.study import ImportedStudy, Unit, prompts_differ
from unimm.report.study.by_item import ByItem
from unimm.report.study.every_claim import arms_of, named_runs
from unimm.report.study.evidence import GUARDS, at_equal_flops, by_draw_and_item, curve_by_draw, of_every_claim
from unimm.report.study.folder import Array
from unimm.report.study.limits import complete, mean_reference, within_range

PROMPTS = "same_prompts"
RUNS = "a table cannot tell runs that are damaged, copied or off plan"


def evidence(study: ImportedStudy) -> StudyResults:
    """Everything that the claims are decided on."""
    scores = {metric: _by_run(study, metric) for metric in sorted(study.metrics)}
    items = {metric: found for metric in scores if (found := by_draw_and_item(study, _by_prompt(study, metric)))}
    scores |= {metric: found.scores for metric, found in items.items()}
    curves = _curves(study)
    budgets: dict[Budget, Mapping[str, Mapping[str, Array]]] = {"generation_samples": scores}
    if curves and all("flops" in curve.costs for own in curves.values() for curve in own.values()):
        budgets["flops"] = {metric: at_equal_flops(own) for metric, own in curves.items()}
    draws = len(set(study.dealt.values()))
    return StudyResults(
        setting=study.frozen.setting,
        scores=budgets,
        tasks={metric: found.strata for metric, found in items.items()},
        texts={metric: found.texts for metric, found in items.items()},
        units={metric: found.units for metric, found in items.items()},
        questions={metric for metric, kind in study.kinds.items() if kind != "prompt"},
        first_stage={arm: study.plan.arms[arm].component("first_stage") or arm for arm in study.plan.arms},
        draws=draws,
        seeds_a_draw=len(study.plan.seeds) // draws if draws else 1,
        curves=curves,
        facts=_facts(study),
        unfinished=Counter(arm for arm, _ in study.missing),
        guards=guards(study),
        every_claim=(PROMPTS, *of_every_claim(study.plan.claims, study.metrics)),
        why_by_run={name: why for name in scores.keys() - items.keys() if (why := _why_by_run(study, name))},
    )


def _by_run(study: ImportedStudy, metric: str) -> dict[str, Array]:
    arms = [arm for arm in study.plan.arms if study.finished(arm)]
    return {arm: by_draw(study.draws(arm), study.values(arm, metric)) for arm in arms}


def _by_prompt(study: ImportedStudy, metric: str) -> ByItem | None:
    """The score of every prompt in every run, or None where some run lacks one, or a task has a single text."""
    tables = {arm: [run.units.get(metric, {}) for run in study.finished(arm)] for arm in study.plan.arms}
    found = [table for own in tables.values() for table in own]
    units: list[Unit] = list(found[0]) if found else []
    if not units or any(table.keys() != found[0].keys() for table in found):
        return None
    texts = Counter(task for task, _ in {(unit.task, unit.text) for unit in units})
    if min(texts.values()) < 2:
        return None
    values = {arm: np.array([[table[unit] for unit in units] for table in own]) for arm, own in tables.items() if own}
    kind = study.kinds.get(metric, "prompt")
    noise: dict[str, float] = {}  # a table has one value a prompt
    return ByItem(values, [unit.task for unit in units], [unit.text for unit in units], f"{kind}s", noise)


def _why_by_run(study: ImportedStudy, metric: str) -> str | None:
    """Why a score that comes by prompt is taken by run."""
    if not any(metric in run.units for run in study.all_runs):
        return None
    return prompts_differ(study.named, metric) or "a task has a single text"


def _curves(study: ImportedStudy) -> dict[str, dict[str, Curve]]:
    """Metric -> arm -> curves of all its runs, for arms whose runs were scored at the same checkpoints."""
    found: dict[str, dict[str, Curve]] = {}
    for arm in study.plan.arms:
        runs = study.finished(arm)
        for metric in dict.fromkeys(name for run in runs for name in run.curves):
            rows = [run.curves.get(metric, []) for run in runs]
            samples = [[point.samples for point in row] for row in rows]
            if any(row != samples[0] for row in samples):
                continue
            costs: dict[Budget, Array] = {"generation_samples": np.array(samples, dtype=float)}
            if all(point.flops is not None for row in rows for point in row):
                costs["flops"] = np.array([[point.flops for point in row] for row in rows], dtype=float)
            scores = np.array([[point.value for point in row] for row in rows], dtype=float)
            found.setdefault(metric, {})[arm] = curve_by_draw(study.draws(arm), Curve(costs, scores))
    return found


def _facts(study: ImportedStudy) -> dict[str, dict[str, list[bool]]]:
    """Fact -> arm -> whether it held in each run, for arms whose every run says so."""
    names = dict.fromkeys(name for run in study.all_runs for name in run.facts)
    return {
        name: {
            arm: [run.facts[name] for run in runs]
            for arm in study.plan.arms
            if (runs := study.finished(arm)) and all(name in run.facts for run in runs)
        }
        for name in names
    }


def guards(study: ImportedStudy) -> dict[str, Guard]:
    """Guard -> function that gives None if a claim passes, and otherwise what was found, or that it is not known."""
    known: dict[str, Callable[[ImportedStudy, Claim], str | None]] = {
        PROMPTS: _same_prompts,
        "complete": _complete,
        "budgets_match": _budgets_match,
        "judge_passes": _unknown("a table does not hold how the judge reads real images"),
        "evaluator_independent": _unknown("a table holds no hashes of evaluators and encoders"),
        "within_range": _within_range,
        "judge_card": _judge_card,
        "runs_count": _unknown(RUNS),
        "same_foundation": _unknown("a table holds no hashes of pretrained parts"),
    }
    assert known.keys() == {PROMPTS, "judge_card", *GUARDS}, "every guard says what it can do with a table"
    return {name: partial(check, study) for name, check in known.items()}


def _unknown(why: str) -> Callable[[ImportedStudy, Claim], str | None]:
    return lambda study, claim: NotKnown(why)


def _judge_card(study: ImportedStudy, claim: Claim) -> str | None:
    judge = None if isinstance(claim, Invariant) else card_of(claim.metric)
    return None if judge is None else NotKnown(f"a table does not hold the card of {judge}")


def _same_prompts(study: ImportedStudy, claim: Claim) -> str | None:
    return None if isinstance(claim, Invariant) else prompts_differ(dict(named_runs(study.runs, claim)), claim.metric)


def _complete(study: ImportedStudy, claim: Claim) -> str | None:
    found = _same_prompts(study, claim) or complete(study, claim)
    if found or isinstance(claim, Invariant):
        return found
    protocols = [
        s.protocol for _, run in named_runs(study.runs, claim) for s in run.result.scores if s.name == claim.metric
    ]
    return None if all(protocols) else NotKnown(f"how {claim.metric} was measured (column protocol)")


def _budgets_match(study: ImportedStudy, claim: Claim) -> str | None:
    assert not isinstance(claim, Invariant), "claims files give invariants no budget"
    runs = [run for _, run in named_runs(study.runs, claim)]
    if claim.budget == "flops":
        curves = [run.curves.get(claim.metric, []) for run in runs]
        counted = all(curve and all(point.flops is not None for point in curve) for curve in curves)
        return None if counted else NotKnown(f"FLOPs at the checkpoints of {claim.metric} (columns samples, flops)")
    if not all(run.samples for run in runs):
        return NotKnown("what training consumed (column samples)")
    spent = sorted({samples for run in runs for samples in run.samples})
    return None if len(spent) == 1 else f"arms spent {'; '.join(f'{samples:,.0f} samples' for samples in spent)}"


def _within_range(study: ImportedStudy, claim: Claim) -> str | None:
    assert not isinstance(claim, Invariant), "claims files give invariants no metric"
    if any(mean_reference(study, arm, "floors", claim.metric) is None for arm in arms_of(claim)):
        return NotKnown(f"the floor of {claim.metric} (column floor)")
    return within_range(study, claim)


def not_known(study: ImportedStudy, results: StudyResults) -> list[str]:
    """What nobody checked, guard by guard, of the guards that some claim has."""
    found: dict[str, list[str]] = {}
    for claim in study.plan.claims.claims:
        for name in (*claim.guards, *results.every_claim):
            reason = results.guards[name](claim)
            if isinstance(reason, NotKnown) and reason not in found.setdefault(name, []):
                found[name].append(reason)
    return [f"{name} ({'; '.join(reasons)})" for name, reasons in found.items() if reasons]
