"""What `result.json` says twice has to be the same: an edit of one number leaves the others behind.

    scores       no name twice; a score that is the mean of others (`mean of`) is their mean, also among floors,
                 ceilings and the points of the learning curve; floors and ceilings of fractions are fractions;
                 understanding above blind is the score less the blind floor
    counts       samples, steps and checkpoints follow from the configuration, which the plan has
    costs        FLOPs are those of a sample times samples, and the sum of the passes; what a preset score cost is
                 what the learning curve gives
    stages       the last one's scores are the run's, and samples and FLOPs add up

What a file says once has no witness here: see docs/studies.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import inf, isclose, isfinite
from typing import Any

from unimm.analysis.reach import cost_to_reach
from unimm.evaluation.words import above_blind, condition_of
from unimm.runs.record import RESULT, NamedScores, Reached, Result, ScoreRecord

FRACTIONS = frozenset({"geneval", "geneval_long", "geneval_place", "atoms", "atoms_long", "atoms_place"})
FRACTIONS |= {"combinations", "copies", "r_precision", "understanding", "descriptions"}
ROUNDING = 1e-9
BLIND = "blind"


def disagreements(result: Result) -> Iterator[str]:
    """Sentences on numbers of a result that contradict each other; none as a rule."""
    for check in CHECKS:
        yield from (f"{RESULT} contradicts itself: {found}" for found in check(result))


def is_fraction(name: str) -> bool:
    """Whether a score is a share of items, each between 0 and 1; above blind is a difference of two such."""
    return family(name) in FRACTIONS and not name.startswith("understanding/above_blind")


def family(name: str) -> str:
    """The first part of a score's name, without the judge or the way of sampling that it may name."""
    return condition_of(name)[0].partition("/")[0].partition("[")[0]


def parts_of(score: ScoreRecord) -> Sequence[str]:
    """The scores of which a score is the mean; none for others."""
    named = score.protocol.get("mean of")
    return [str(part) for part in named] if isinstance(named, list) else []


def _names(result: Result) -> Iterator[str]:
    for name, times in Counter(score.name for score in result.scores).items():
        if times > 1:
            yield f"it has {name} {times} times"


def _means(result: Result) -> Iterator[str]:
    values = {score.name: score.value for score in result.scores}
    tables: dict[str, NamedScores] = {"the scores": values}
    tables |= {f"the floor {name}": table for name, table in result.floors.items()}
    tables |= {f"the ceiling {name}": table for name, table in result.ceilings.items()}
    curves = {f"the curve at {point.samples:,} samples": point.scores for point in result.curve}
    tables |= curves
    for score in result.scores:
        parts = parts_of(score)
        if not any(values.get(part) is not None for part in parts):
            continue
        for where, table in tables.items():
            whole, own = table.get(score.name), [table.get(part) for part in parts]
            known = [value for value in own if value is not None]
            if not known and where in curves:
                continue
            if whole is not None and not (known and _equal(whole, sum(known) / len(known))):
                yield f"in {where}, {score.name} is {whole:.6g} and no mean of {', '.join(parts)}"


def _ranges(result: Result) -> Iterator[str]:
    for kind in ("floors", "ceilings"):
        for name, table in getattr(result, kind).items():
            for score, value in table.items():
                if value is not None and is_fraction(score) and not 0 <= value <= 1:
                    yield f"{score} has {value:.6g} among its {kind} ({name}), which is no fraction"


def _blind(result: Result) -> Iterator[str]:
    floors = result.floors.get(BLIND, {})
    values = {score.name: score.value for score in result.scores}
    for name, value in values.items():
        floor, above = floors.get(name), values.get(above_blind(name))
        if value is not None and floor is not None and above is not None and not _equal(value - floor, above):
            yield f"{above_blind(name)} is {above:.6g}, and {name} less its blind floor {value - floor:.6g}"


def _counts(result: Result) -> Iterator[str]:
    training, stages = _section(result.config, "training"), _section(result.config, "stages")
    batch, counts = training.get("batch_size"), result.counts
    planned = [stage.get("samples") for stage in stages.values()] if stages else [training.get("samples")]
    known = [samples for samples in planned if isinstance(samples, int)]
    if not isinstance(batch, int) or len(known) < len(planned):
        return
    steps = sum(samples // batch for samples in known)
    if (counts.steps, counts.generation_samples) != (steps, steps * batch):
        yield f"{counts.generation_samples:,} samples in {counts.steps:,} steps, and its configuration has {steps:,}"
    for point in result.curve:
        if point.samples // batch != point.step:
            yield f"its curve has {point.samples:,} samples at step {point.step:,} of {batch} each"
    if result.curve and result.curve[-1].samples != counts.generation_samples:
        yield f"its curve ends at {result.curve[-1].samples:,} samples, and training at {counts.generation_samples:,}"
    if any(after.samples <= before.samples for before, after in pairwise(result.curve)):
        yield "its curve goes back"


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if isinstance(found, Mapping) else {}


def _costs(result: Result) -> Iterator[str]:
    spent = result.efficiency
    if spent is None:
        return
    sums = {"FLOPs of a sample times samples": spent.train_flops_per_sample * result.counts.generation_samples}
    if spent.passes:
        sums["FLOPs of its passes"] = sum(each.flops * each.samples for each in spent.passes)
    for what, found in sums.items():
        if not _equal(found, spent.train_flops):
            yield f"{what} are {found:.6g}, and FLOPs of training {spent.train_flops:.6g}"
    for goal in spent.reached:
        yield from _reached(result, goal, spent.train_flops_per_sample)


def _reached(result: Result, goal: Reached, flops: float) -> Iterator[str]:
    """What a preset score cost, against the learning curve."""
    points = [(point.samples, point.scores.get(goal.score)) for point in result.curve]
    scores = [score for _, score in points if score is not None and isfinite(score)]
    if len(points) < 2 or len(scores) < len(points):
        return
    try:
        found = cost_to_reach([samples for samples, _ in points], scores, goal.target)
    except ValueError:
        return  # a curve that goes back has its own sentence
    seen = goal.samples.low, inf if goal.samples.high is None else goal.samples.high
    if not all(_equal(*pair) for pair in zip(seen, (found.low, found.high), strict=True)):
        yield f"its curve has {goal.score} of {goal.target:g} at other samples than `reached`"
    elif not _equal(goal.flops.low, flops * goal.samples.low):
        yield f"`reached` has other FLOPs for {goal.score} of {goal.target:g} than its samples cost"


def _stages(result: Result) -> Iterator[str]:
    if not result.stages:
        return
    last = {score.name: score.value for score in result.stages[-1].scores}
    for score in result.scores:
        if score.name in last and not _same(score.value, last[score.name]):
            yield f"{score.name} is {score.value} and {last[score.name]} in its last stage"
    samples = sum(stage.counts.generation_samples for stage in result.stages)
    if samples != result.counts.generation_samples:
        yield f"its stages have {samples:,} samples, and the run {result.counts.generation_samples:,}"
    flops = sum(stage.train_flops for stage in result.stages)
    if result.efficiency is not None and not _equal(flops, result.efficiency.train_flops):
        yield f"its stages have {flops:.6g} FLOPs, and the run {result.efficiency.train_flops:.6g}"


def _equal(a: float, b: float) -> bool:
    return isclose(a, b, rel_tol=ROUNDING, abs_tol=ROUNDING)


def _same(a: float | None, b: float | None) -> bool:
    return a is b if a is None or b is None else _equal(a, b)


CHECKS: tuple[Callable[[Result], Iterator[str]], ...] = (_names, _means, _ranges, _blind, _counts, _costs, _stages)
