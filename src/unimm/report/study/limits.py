"""Conditions on scores that a claim names as guards, and floors and ceilings, whoever ran the study.

    complete      every planned run is finished and measured the metric, over the same number of items, under the same
                  protocol, entry by entry, and not with the bias of too few images
    within_range  the arms do not all sit at the floor, or all at the ceiling, where nothing can differ; for a claim of
                  "no worse", none of them does

An arm at the floor beside one well above it does show a difference (one that is rather too small), so `within_range`
lets a claimed difference pass unless every arm sits at the same end; `at_an_end` names the arms for the reader. What is
too small favours "no worse", though: arms that cannot get worse hide what the others lose.
"""

import json
from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np
from pydantic import JsonValue

from unimm.analysis.claims import Claim, Invariant, NonInferiority
from unimm.report.study.every_claim import arms_of, named_runs, shortened
from unimm.report.study.scored import ScoredRun, ScoredStudy
from unimm.runs.record import NamedScores, ScoreRecord

MARGIN = 0.03


def reference(run: ScoredRun, kind: str, metric: str) -> float | None:
    """The run's floor (`floors`) or lowest ceiling (`ceilings`) of a score: what its own parts allow, if measured."""
    tables: Mapping[str, NamedScores] = getattr(run.result, kind)
    values = [value for scores in tables.values() if (value := scores.get(metric)) is not None and isfinite(value)]
    return min(values) if values else None


def mean_reference(study: ScoredStudy, arm: str, kind: str, metric: str) -> float | None:
    """Mean over seeds of an arm's floor or ceiling, or None where none was measured."""
    values = [value for run in study.finished(arm) if (value := reference(run, kind, metric)) is not None]
    return sum(values) / len(values) if values else None


def at_an_end(study: ScoredStudy, claim: Claim) -> dict[str, list[str]]:
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


def complete(study: ScoredStudy, claim: Claim) -> str | None:
    """What is missing, or was measured differently in some run."""
    missing = [f"{arm} seed {seed}" for (arm, seed) in study.missing if arm in arms_of(claim)]
    if missing:
        return shortened("runs not finished: ", missing)
    if isinstance(claim, Invariant):
        return None
    unmeasured = [name for name, run in named_runs(study.runs, claim) if np.isnan(run.value(claim.metric))]
    if unmeasured:
        return f"{claim.metric} could not be measured in {'; '.join(unmeasured)}"
    scores = [s for _, run in named_runs(study.runs, claim) for s in run.result.scores if s.name == claim.metric]
    # Of a score among correct images only the protocol is the same in every arm: how many are correct is a finding.
    counts = sorted({score.n for score in scores if "among" not in score.protocol})
    if len(counts) > 1:
        return f"runs scored different numbers of items: {', '.join(map(str, counts))}"
    return not_comparable(claim.metric, scores)


def not_comparable(metric: str, scores: Sequence[ScoreRecord]) -> str | None:
    """Why a metric's values are no ground for a verdict: it is no score, or biased, or was measured differently."""
    if metric.startswith("bias/"):
        return f"{metric} is a diagnostic of an evaluator's bias and no score"
    if any(score.protocol.get("biased") for score in scores):
        return f"{metric} of {scores[0].n:,} images is biased upwards: claim the kernel distance, or score more images"
    for key in sorted(set().union(*(score.protocol for score in scores))):
        values = {_spelled(score.protocol[key]) if key in score.protocol else "not recorded" for score in scores}
        if len(values) > 1:
            return f"runs measured {metric} differently: {key} is {' or '.join(sorted(values))}"
    return None


def _spelled(value: JsonValue) -> str:
    """A protocol's entry as text; numbers to six digits, which another machine's rounding does not reach."""
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value, sort_keys=True)


def within_range(study: ScoredStudy, claim: Claim) -> str | None:
    """Which arms sit at an end, or that nobody measured where the end is."""
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


def _limits(study: ScoredStudy, arm: str, metric: str) -> tuple[float, float] | None:
    """Mean floor and ceiling of an arm; a fraction without a measured ceiling can reach 1."""
    floor, ceiling = (mean_reference(study, arm, kind, metric) for kind in ("floors", "ceilings"))
    return None if floor is None else (floor, 1.0 if ceiling is None else ceiling)
