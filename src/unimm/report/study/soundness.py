"""Which runs of a study count for nothing: damaged ones, and those that are copies of one another.

`items.json` has every item of the scores of which `result.json` has the means. For fractions both have to say the
same: as many items, each between 0 and 1, and their mean, to the bit where items are 0 or 1, and otherwise within the
four decimals to which items are written. CLIPScore is that mean or, if the mean is below, 0. A standard error over
prompts is that of the items, so that items that were moved from prompt to prompt are known. JSON has no NaN, so a
number that is none was not written by a run. What `result.json` says twice is compared in `agreement`.

Seeds start from other weights and see data in another order: runs of different seeds never end with equal weights, and
neither do runs whose encoder, objective, head or strategy differ. Arms of one seed that only sample differently do.
Runs with other weights never have the same scores in every digit.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from unimm.report.study.agreement import FRACTIONS, disagreements, family, is_fraction, parts_of
from unimm.runs.record import ITEMS, RESULT, Items, Result, ScoreRecord

TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
BY_TASK = ("geneval", "geneval_long", "geneval_place")
CLIP = ("clip_score", "bias/clip_score")
BY_PROMPT = ("geneval", "combinations", "atoms", "copies", "r_precision", *CLIP)  # long ones: by texts not kept
WRITTEN_TO, ROUNDING = 5e-5, 1e-12  # of an item, and of a mean of 0 and 1
SINGLE = 1e-3  # of a sum in single precision, or an error of items with four decimals
DIFFER_IN_WEIGHTS = ("encoder", "objective", "head", "strategy")
Run = tuple[str, int]
Array = NDArray[np.float64]


def damage(result: Result, items: Items | None) -> str | None:
    """What is wrong with the files of a run, or None; one without items can only contradict itself."""
    found = disagreements(result)
    return next(found if items is None else chain(_damages(result, items), found), None)


def _damages(result: Result, items: Items) -> Iterator[str]:
    for name, values in items.scores.items():
        fraction = is_fraction(name)
        for value in values:
            if value is not None and not math.isfinite(value):
                yield f"{ITEMS} has {value} under {name}, which is no number"
            elif value is not None and fraction and not 0 <= value <= 1:
                yield f"{ITEMS} has {value:.6g} under {name}, which is no fraction"
    yield from _gaps(result, items)
    scores = {score.name: score for score in result.scores}
    for name, values in items.scores.items():
        known = [value for value in values if value is not None]
        if family(name) not in FRACTIONS or not known:
            continue
        score = scores.get(name)
        if score is None:
            yield f"{ITEMS} has values of {name}, and {RESULT} has no such score"
        elif len(known) != score.n:
            yield f"{ITEMS} has {len(known)} values of {name}, and {RESULT} says {score.n}"
        else:
            whole = set(known) <= {0.0, 1.0}
            yield from _disagreement(name, float(np.mean(known)), score.value, ROUNDING if whole else WRITTEN_TO)
    for kind in BY_TASK:
        own = [items.scores[f"{kind}/{task}"] for task in TASKS if f"{kind}/{task}" in items.scores]
        means = [np.mean([value for value in values if value is not None]) for values in own]
        overall = scores.get(f"{kind}/overall")
        if means and overall is not None and overall.value is not None:
            yield from _disagreement(overall.name, float(np.mean(means)), overall.value, ROUNDING)
    for score in result.scores:
        yield from _spread(score, items)


def _spread(score: ScoreRecord, items: Items) -> Iterator[str]:
    """A CLIPScore that is not the mean of its items, and a standard error over prompts that is not theirs."""
    rows = [items.scores.get(part, []) for part in parts_of(score) or [score.name]]
    if not score.name.startswith(tuple(f"{kind}/" for kind in BY_PROMPT)) or {len(row) for row in rows} != {
        len(items.prompts)
    }:
        return
    values: Array = np.array(rows, dtype=float)
    if np.isnan(values).all(axis=1).any():
        return
    if score.name.startswith(CLIP) and score.value is not None:
        mean = float(np.nanmean(values))
        if score.value != 0 or mean > SINGLE:
            yield from _disagreement(score.name, mean, score.value, SINGLE)
    if score.stderr is not None:
        error = _error(values, [row.prompt for row in items.prompts])
        yield from _disagreement(f"the standard error of {score.name}", error, score.stderr, SINGLE)


def _error(values: Array, prompts: Sequence[Hashable]) -> float:
    """Standard error over prompts of the mean of the rows' means, `[scores, images]`: of G groups with the sums u_g of
    deviations, each over its row's size and number, sqrt(G / (G - 1) sum_g u_g^2)."""
    there = ~np.isnan(values)
    shares = np.nan_to_num(values - np.nanmean(values, axis=1, keepdims=True)) / there.sum(axis=1, keepdims=True)
    totals: dict[Hashable, float] = {}
    for prompt, share, measured in zip(prompts, shares.mean(axis=0), there.sum(axis=0), strict=True):
        if measured:
            totals[prompt] = totals.get(prompt, 0.0) + float(share)
    number = len(totals)
    return math.sqrt(number / (number - 1) * sum(total**2 for total in totals.values())) if number > 1 else 0.0


def _gaps(result: Result, items: Items) -> Iterator[str]:
    """Images of a task that have no value of it, and lists that are no list of the images."""
    images = {task: [i for i, row in enumerate(items.prompts) if row.tag == task] for task in TASKS}
    for kind in BY_TASK:
        if not any(f"{kind}/{task}" in items.scores for task in TASKS):
            continue
        for task, positions in images.items():
            values = items.scores.get(f"{kind}/{task}", [])
            if positions and len(values) <= positions[-1]:  # long wordings have those of the six tasks only
                yield f"{ITEMS} has {len(values)} entries under {kind}/{task}, too few for its images"
            elif empty := sum(values[i] is None for i in positions):
                yield f"{ITEMS} has no value of {kind}/{task} for {empty} of its {len(positions)} images"
    evaluation = result.config.get("evaluation")
    each = evaluation.get("images_per_prompt") if isinstance(evaluation, Mapping) else None
    scored = sum(map(len, images.values()))
    six = [row for row in items.prompts if row.tag in TASKS]
    if isinstance(each, int) and any(row != six[place - place % each] for place, row in enumerate(six)):
        yield f"{ITEMS} has other prompts within the {each} images of one"
    if isinstance(each, int) and scored % each:
        yield f"{ITEMS} has {scored} images of the six tasks, and every prompt has {each}"


def _disagreement(name: str, mean: float, value: float | None, tolerance: float) -> Iterator[str]:
    if value is None or not abs(mean - value) <= tolerance:  # NaN disagrees with everything
        yield f"{ITEMS} and {RESULT} disagree on {name}: {mean:.6g} and {value if value is None else f'{value:.6g}'}"


def copies(results: Mapping[Run, Result]) -> dict[Run, str]:
    """Why runs count for nothing because their weights are those of another one: both of a pair, as either is it."""
    found: dict[Run, str] = {}
    weights: dict[JsonValue, list[Run]] = {}
    for run, result in results.items():
        if "head" in result.hashes:
            weights.setdefault(result.hashes["head"], []).append(run)
        else:
            found[run] = f"{RESULT} has no hash of the trained head, without which a copy cannot be told"
    for alike in weights.values():
        for one, other in combinations(alike, 2):
            if one[1] != other[1] or _parts(results[one]) != _parts(results[other]):
                for run, (arm, seed) in ((one, other), (other, one)):
                    found[run] = f"has the trained weights of {arm} seed {seed}"
    return _same_scores(results) | found


def _same_scores(results: Mapping[Run, Result]) -> dict[Run, str]:
    """Runs with other weights and scores that are the same in every digit, distances among them."""
    found: dict[Run, str] = {}
    scored: dict[Hashable, Run] = {}
    for run, result in results.items():
        values = tuple((score.name, score.value) for score in result.scores)
        if not any(value and name.endswith("distance") for name, value in values):
            continue
        other = scored.setdefault(values, run)
        if result.hashes.get("head") != results[other].hashes.get("head"):
            found |= {
                each: f"has all scores of {arm} seed {seed}" for each, (arm, seed) in ((run, other), (other, run))
            }
    return found


def _parts(result: Result) -> list[JsonValue]:
    """Names of the components without which no weights are equal."""
    chosen = [result.config.get(kind) for kind in DIFFER_IN_WEIGHTS]
    return [part.get("name") if isinstance(part, Mapping) else part for part in chosen]
