"""Runs of a study that differ from most in what is the same in all of them.

    prompts     runs of one world and one configured evaluation have the same prompts in the same order
    resolution  runs of one arm have as many tokens, and their head costs as much, at every resolution

Where no more than half agree, none of them counts: nothing says which was touched.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from unimm.runs.record import ITEMS, RESULT, Items, Result

Run = tuple[str, int]


class Vote(NamedTuple):
    """What a run has (`value`) of something that is the same in all runs of a `group`."""

    run: Run
    group: str
    value: Hashable
    reason: str


def odd_ones(runs: Mapping[Run, tuple[Result, Items | None]]) -> dict[Run, str]:
    """Why runs count for nothing because most others differ from them."""
    votes = [vote for run, (result, items) in runs.items() for vote in _votes(run, result, items)]
    return {vote.run: vote.reason for vote in _outvoted(votes)}


def _votes(run: Run, result: Result, items: Items | None) -> Iterable[Vote]:
    if items is not None:
        asked = tuple((row.tag, row.prompt) for row in items.prompts)
        group = f"prompts {result.world} {_spelled(result.config.get('evaluation'))}"
        yield Vote(run, group, asked, f"{ITEMS} has other prompts than most runs")
    scaling = tuple((point.resolution, point.tokens, point.head_flops) for point in result.resolution_scaling)
    yield Vote(run, f"resolution {run[0]}", scaling, f"{RESULT} has another `resolution_scaling` than other seeds")


def _outvoted(votes: Iterable[Vote]) -> Iterable[Vote]:
    for _, grouped in groupby(sorted(votes, key=lambda vote: vote.group), key=lambda vote: vote.group):
        group = list(grouped)
        (most, count), *_ = Counter(vote.value for vote in group).most_common()
        yield from (vote for vote in group if vote.value != most or 2 * count <= len(group))


def _spelled(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
