"""A study's measurements as verdicts read them: scores, curves, facts and guards, by arm.

Whoever reads `result.json` files fills this in; a name that is absent makes the claims that need it untestable.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unimm.analysis.claims import Budget, Claim, Measured

Array = NDArray[np.float64]
Guard = Callable[[Claim], str | None]

MIN_SEEDS = 3


class NotKnown(str):
    """What a guard found: nothing, as the numbers come without what it has to look at. Shown, and no reason to stop."""


class Untestable(Exception):
    """The reason why a claim cannot be tested on these results."""


@dataclass(frozen=True)
class Curve:
    """Learning curves of an arm: `scores` and each of `costs` (by budget) are `[seeds, checkpoints]`."""

    costs: Mapping[Budget, Array]
    scores: Array


@dataclass(frozen=True)
class StudyResults:
    """What a study measured.

    Attributes:
        setting: where the numbers hold, to follow "in": `the scene world, profile small, 9 M trainable parameters`.
        scores: budget on which arms are matched -> metric -> arm -> `[seeds]` or `[seeds, prompts]`.
        tasks: metric -> task of every prompt, for scores by prompt that are means of task means.
        texts: metric -> text of every prompt, for scores by prompt whose prompts repeat texts.
        questions: metrics that score answers to questions about images; all others score images of prompts.
        first_stage: arm -> the first arm of the study whose training begins alike, itself where no other's does.
        draws: on how many draws of the foundation the seeds stand; 0 where all stand on one. Every row of scores and
            curves is then the mean of a draw's `seeds_a_draw` seeds, in the same order in all arms, and else a seed.
        units: metric -> what scores by prompt are by, `prompts` or `questions`.
        image_noise: metric -> arm -> variance that the images of its prompts give a run's score, where prompts have two
            images or more.
        curves: metric -> arm -> learning curves on validation prompts.
        facts: fact -> arm -> whether it held, for each run.
        unfinished: arm -> how many of its planned runs have no result yet.
        guards: guard -> function that gives None if a claim passes, and otherwise what was found, which may be that
            nobody can know (`NotKnown`).
        every_claim: guards of every claim, whether it names them or not.
        why_by_run: metric that could be scored by prompt -> why it was taken by run.
    """

    setting: str
    scores: Mapping[Budget, Mapping[str, Mapping[str, Array]]] = field(default_factory=dict)
    tasks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    questions: Collection[str] = frozenset()
    first_stage: Mapping[str, str] = field(default_factory=dict)
    draws: int = 0
    seeds_a_draw: int = 1
    units: Mapping[str, str] = field(default_factory=dict)
    image_noise: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Sequence[bool]]] = field(default_factory=dict)
    unfinished: Mapping[str, int] = field(default_factory=dict)
    guards: Mapping[str, Guard] = field(default_factory=dict)
    every_claim: Sequence[str] = ()
    why_by_run: Mapping[str, str] = field(default_factory=dict)

    @property
    def row(self) -> str:
        """What a row of scores is of: a seed, or a draw of the foundation where it is the mean of several seeds."""
        return "draw of the foundation" if self.seeds_a_draw > 1 else "seed"

    @property
    def covers(self) -> str:
        """A sentence on the draws that intervals cover; empty where all seeds stand on one foundation."""
        if not self.draws:
            return ""
        each = "one for each seed"
        if self.seeds_a_draw > 1:
            each = f"each with {self.seeds_a_draw} seeds, whose mean counts once"
        return f"An interval covers {self.draws} draws of the foundation, {each}."

    def check_guards(self, claim: Claim) -> None:
        """Raise Untestable with the first guard of this or of every claim that fails or that nobody checked."""
        for name in dict.fromkeys((*claim.guards, *self.every_claim)):
            found = self.guards[name](claim) if name in self.guards else "was not checked"
            if found is not None and not isinstance(found, NotKnown):
                raise Untestable(f"guard {name}: {found}")

    def score(self, budget: Budget, metric: str, arm: str) -> Array:
        """Scores of one arm, `[seeds]` or `[seeds, prompts]`."""
        values = self.scores.get(budget, {}).get(metric, {}).get(arm)
        if values is None or not np.isfinite(values).all():
            raise Untestable(f"{arm}: {metric} at equal {budget.replace('_', ' ')} was not measured in every run")
        return self._enough(arm, values)

    def on_scale(self, claim: Measured, arm: str) -> Array:
        """Scores of one arm as the claim compares them: as they are, or the natural logarithms of its runs' scores."""
        return self.by_run(claim, arm) if claim.is_ratio else self.score(claim.budget, claim.metric, arm)

    def by_run(self, claim: Measured, arm: str) -> Array:
        """One score a run on the claim's scale, `[seeds]`: the mean of the task means of scores by prompt."""
        values = self.score(claim.budget, claim.metric, arm)
        if values.ndim == 2:
            tasks = np.array(self.tasks.get(claim.metric, [""] * values.shape[1]))
            values = np.mean([values[:, tasks == task].mean(axis=1) for task in np.unique(tasks)], axis=0)
        if not claim.is_ratio:
            return values
        if values.min() <= 0:
            raise Untestable(
                f"{arm}: {claim.metric} of {values.min():g} has no logarithm; compare it on the linear scale"
            )
        logarithms: Array = np.log(values)
        return logarithms

    def curve(self, budget: Budget, metric: str, arm: str) -> tuple[Array, Array]:
        """Costs and scores of one arm, `[seeds, checkpoints]` each."""
        curve = self.curves.get(metric, {}).get(arm)
        if curve is None or budget not in curve.costs or not np.isfinite(curve.scores).all():
            raise Untestable(f"{arm}: no complete learning curve of {metric} by {budget.replace('_', ' ')}")
        return curve.costs[budget], self._enough(arm, curve.scores)

    def why_paired(self, a: str, b: str) -> str:
        """Why the runs of two arms that have one seed are no two draws, whatever a claim says; empty if they are."""
        if self.draws:
            return "the arms of a seed stand on one draw of the foundation"
        if self.first_stage.get(a, a) == self.first_stage.get(b, b):
            return "the arms share their first stage"
        return ""

    def fact(self, fact: str, arm: str) -> Sequence[bool]:
        """Whether a fact held, for each run of one arm."""
        held = self.facts.get(fact, {}).get(arm)
        if not held:
            raise Untestable(f"{arm}: {fact} was not checked")
        return held

    def _enough(self, arm: str, values: Array) -> Array:
        """`values`, one row a seed or a draw of the foundation, if there are enough of these for a verdict."""
        if len(values) < MIN_SEEDS:
            rows = "draws of the foundation" if self.draws else "seeds"
            raise Untestable(f"{arm}: {rows} run: {len(values)}; a verdict needs {MIN_SEEDS}")
        return values
