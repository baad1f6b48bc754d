"""The conditions without which a claim is untestable, checked on the runs of the arms that it names.

    complete               every planned run is finished and measured the metric, over the same number of items, under
                           the same protocol, and not with the bias of too few images
    budgets_match          the arms spent the same of the claim's budget
    judge_passes           the judge accepts real scenes
    evaluator_independent  the features and evaluators that score are not what the arm trains against
    within_range           the arms do not all sit at the floor, or all at the ceiling, where nothing can differ; for a
                           claim of "no worse", none of them does

An arm at the floor beside one well above it does show a difference (one that is rather too small), so `within_range`
lets a claimed difference pass unless every arm sits at the same end; `at_an_end` names the arms for the reader. What is
too small favours "no worse", though: arms that cannot get worse hide what the others lose.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
from pydantic import JsonValue

from unimm.analysis.claims import Claim, Invariant, NonInferiority
from unimm.analysis.results import Guard
from unimm.report.schema import Score
from unimm.report.study_folder import Study, StudyRun
from unimm.report.study_references import mean_reference

JUDGE_AT_LEAST = 0.99
MARGIN = 0.03
NAMED = 4


def guards(study: Study) -> dict[str, Guard]:
    """Guard -> function that gives None if a claim passes, and otherwise what was found."""
    checks: dict[str, Callable[[Study, Claim], str | None]] = {
        "complete": _complete,
        "budgets_match": _budgets_match,
        "judge_passes": _judge_passes,
        "evaluator_independent": _evaluator_independent,
        "within_range": _within_range,
    }
    return {name: partial(check, study) for name, check in checks.items()}


def arms_of(claim: Claim) -> list[str]:
    """The arms that a claim names, in its order."""
    return list(dict.fromkeys(name for _, kind, name in claim.references() if kind == "arms"))


def at_an_end(study: Study, claim: Claim) -> dict[str, list[str]]:
    """The claim's arms whose mean lies within 3 % of the range from its floor (`floor`) or ceiling (`ceiling`)."""
    found: dict[str, list[str]] = {"floor": [], "ceiling": []}
    if isinstance(claim, Invariant):
        return found
    for arm in arms_of(claim):
        limits = _limits(study, arm, claim.metric)
        if limits is not None:
            floor, ceiling = limits
            mean, margin = study.values(arm, claim.metric).mean(), MARGIN * (ceiling - floor)
            found["floor"] += [arm] if mean <= floor + margin else []
            found["ceiling"] += [arm] if mean >= ceiling - margin else []
    return found


def _runs(study: Study, claim: Claim) -> Iterable[tuple[str, StudyRun]]:
    return ((f"{arm}, seed {seed}", run) for arm in arms_of(claim) for seed, run in study.runs[arm].items())


def _complete(study: Study, claim: Claim) -> str | None:
    missing = [f"{arm} seed {seed}" for (arm, seed) in study.missing if arm in arms_of(claim)]
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        return f"runs not finished: {', '.join(missing[:NAMED])}{more}"
    if isinstance(claim, Invariant):
        return None
    unmeasured = [name for name, run in _runs(study, claim) if np.isnan(run.value(claim.metric))]
    if unmeasured:
        return f"{claim.metric} could not be measured in {'; '.join(unmeasured)}"
    scores = [s for _, run in _runs(study, claim) for s in run.result.scores if s.name == claim.metric]
    # Of a score among correct images only the protocol is the same in every arm: how many are correct is a finding.
    counts = sorted({score.n for score in scores if "among" not in score.protocol})
    if len(counts) > 1:
        return f"runs scored different numbers of items: {', '.join(map(str, counts))}"
    return _not_comparable(claim.metric, scores)


def _not_comparable(metric: str, scores: Sequence[Score]) -> str | None:
    """Why a metric's values are no ground for a verdict: it is no score, or biased, or was measured differently."""
    if metric.startswith("bias/"):
        return f"{metric} is a diagnostic of an evaluator's bias and no score"
    if any(score.protocol.get("biased") for score in scores):
        return f"{metric} of {scores[0].n:,} images is biased upwards: claim the kernel distance, or score more images"
    for key in sorted(set.intersection(*(set(score.protocol) for score in scores))):
        values = {_spelled(score.protocol[key]) for score in scores}
        if len(values) > 1:
            return f"runs measured {metric} differently: {key} is {' or '.join(sorted(values))}"
    return None


def _spelled(value: JsonValue) -> str:
    """A protocol's entry as text; numbers to six digits, which another machine's rounding does not reach."""
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value, sort_keys=True)


def _budgets_match(study: Study, claim: Claim) -> str | None:
    assert not isinstance(claim, Invariant), "claims files give invariants no budget"
    if claim.budget == "flops":
        # Scores are read off the learning curves at one common number of FLOPs: equal by construction.
        unknown = [name for name, run in _runs(study, claim) if run.result.efficiency is None]
        return f"FLOPs were not recorded in {'; '.join(unknown)}" if unknown else None
    spent = {(run.result.counts.generation_samples, run.result.counts.steps) for _, run in _runs(study, claim)}
    if len(spent) == 1:
        return None
    return "arms spent " + "; ".join(f"{samples:,} samples in {steps:,} steps" for samples, steps in sorted(spent))


def _judge_passes(study: Study, claim: Claim) -> str | None:
    for name, run in _runs(study, claim):
        accepted = run.result.ceilings.get("real", {}).get("geneval/overall")
        if accepted is None:
            return f"{name}: the judge was not tried on real scenes"
        if accepted < JUDGE_AT_LEAST:
            return f"{name}: the judge accepts {accepted:.1%} of real scenes, less than {JUDGE_AT_LEAST:.0%}"
    return None


def _evaluator_independent(study: Study, claim: Claim) -> str | None:
    for arm in arms_of(claim):
        target = study.plan.arms[arm].component("encoder")
        for run in study.finished(arm):
            hashes = run.result.hashes
            evaluators = {key: value for key, value in hashes.items() if key.startswith(("features", "evaluator"))}
            if target not in hashes or not evaluators:
                return f"{arm}: the weights of {target} or of the evaluators have no recorded hash"
            same = [name for name, value in evaluators.items() if value == hashes[target]]
            if same:
                return f"{arm} trains against {target}, whose weights are also {', '.join(same)}"
    return None


def _within_range(study: Study, claim: Claim) -> str | None:
    assert not isinstance(claim, Invariant), "claims files give invariants no metric"
    arms = arms_of(claim)
    if any(_limits(study, arm, claim.metric) is None for arm in arms):
        return f"no floor of {claim.metric} was measured in every arm"
    for end, stuck in at_an_end(study, claim).items():
        if stuck and isinstance(claim, NonInferiority):
            return f"{', '.join(stuck)} at the {end} of {claim.metric}, where a loss cannot show"
        if len(stuck) == len(arms):
            return f"every arm lies within {MARGIN:.0%} of its {end} of {claim.metric}"
    return None


def _limits(study: Study, arm: str, metric: str) -> tuple[float, float] | None:
    """Mean floor and ceiling of an arm; a fraction without a measured ceiling can reach 1."""
    floor, ceiling = (mean_reference(study, arm, kind, metric) for kind in ("floors", "ceilings"))
    return None if floor is None else (floor, 1.0 if ceiling is None else ceiling)
