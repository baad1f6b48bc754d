"""Which runs of a study count for nothing: damaged ones, and those that are copies of one another.

`items.json` has every item of the scores of which `result.json` has the means. For the scores in `MEANS` both have to
say the same: as many items, and their mean, to the bit where items are 0 or 1, and otherwise within the four decimals
to which items are written. Other scores promise no mean (CLIPScore is bounded below). JSON has no NaN, so a number
that is none was not written by a run.

Seeds start from other weights and see data in another order: runs of different seeds never end with equal weights, and
neither do runs whose encoder, objective, head or strategy differ. Arms of one seed that only sample differently do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
from pydantic import JsonValue

from unimm.runs.record import ITEMS, RESULT, Items, Result

TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
BY_TASK = ("geneval", "geneval_long")
MEANS = frozenset(BY_TASK) | {"combinations", "atoms", "atoms_long"} | {"copies", "r_precision"}
MEANS |= {"understanding", "descriptions"}
WRITTEN_TO, ROUNDING = 5e-5, 1e-12  # of an item, and of a mean of 0 and 1
DIFFER_IN_WEIGHTS = ("encoder", "objective", "head", "strategy")
Run = tuple[str, int]


def damage(result: Result, items: Items | None) -> str | None:
    """What is wrong with the files of a run, or None; a run without items has nothing that could disagree."""
    if items is None:
        return None
    return next(_damages(result, items), None)


def _damages(result: Result, items: Items) -> Iterator[str]:
    for name, values in items.scores.items():
        for value in values:
            if value is not None and not math.isfinite(value):
                yield f"{ITEMS} has {value} under {name}, which is no number"
    yield from _gaps(result, items)
    scores = {score.name: score for score in result.scores}
    for name, values in items.scores.items():
        known = [value for value in values if value is not None]
        if name.partition("/")[0] not in MEANS or not known:
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
    return found


def _parts(result: Result) -> list[JsonValue]:
    """Names of the components without which no weights are equal."""
    chosen = [result.config.get(kind) for kind in DIFFER_IN_WEIGHTS]
    return [part.get("name") if isinstance(part, Mapping) else part for part in chosen]
