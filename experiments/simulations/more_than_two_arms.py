"""Do contrasts of four arms keep their level where scores are by prompt and seeds are few?

Four arms that do not differ, on the same prompts, compared seed by seed (two against two):

    Y_k[s, p] = q[p] + seed_k[s] + prompt_k[p] + e_k[s, p]

`ratio` is the contrast's seed error over its prompt error, sqrt(V_seed / V_prompt). With 3 seeds the seeds' own spread
is known to 2 degrees of freedom. Satterthwaite's rule puts far more there whenever the three seeds happen to look
alike, and then gives an interval that is too narrow; at most S - 1 keeps the level and costs width. A rule that is not
in use is shown beside them: each part with its own degrees of freedom, after Howe (1974),

    half^2 = t(S - 1)^2 V_seed + t(P - 1)^2 (V_prompt - V_e)

    python experiments/simulations/more_than_two_arms.py
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from rates import LEVELS, Table, half_width, main, missed, percent
from scipy import stats

from unimm.analysis.contrast import Comparison, contrast

PROMPTS, NOISE = 300, 1.0
WEIGHTS = {"a": 0.5, "b": 0.5, "c": -0.5, "d": -0.5}
CASES = [(3, 0.0), (3, 1.0), (3, 2.0), (3, 4.0), (3, 8.0), (5, 2.0), (10, 2.0)]


def study(rng: np.random.Generator, seeds: int, ratio: float) -> dict[str, np.ndarray]:
    """Scores `[seeds, prompts]` by arm; an arm's own prompt effects have standard deviation 1, residuals `NOISE`."""
    seed_sd = ratio * np.sqrt(seeds / PROMPTS)
    own = rng.normal(size=(4, seeds, 1)) * seed_sd + rng.normal(size=(4, 1, PROMPTS))
    scores = own + rng.normal(size=PROMPTS) + NOISE * rng.normal(size=(4, seeds, PROMPTS))
    return dict(zip(WEIGHTS, scores, strict=True))


@dataclass(frozen=True)
class Howe(Comparison):
    """The same interval with each part's own degrees of freedom."""

    v_seed: float = 0.0
    v_prompt: float = 0.0

    def interval(self, alpha: float) -> tuple[float, float]:
        """At level 1 - alpha."""
        t = stats.t.isf(alpha / 2, [self.n_seeds - 1, PROMPTS - 1])
        half = float(np.sqrt(np.sum(t**2 * np.array([self.v_seed, self.v_prompt]))))
        return self.estimate - half, self.estimate + half


def others(scores: dict[str, np.ndarray], capped: Comparison) -> tuple[Comparison, Comparison]:
    """The same interval with the degrees of freedom that Satterthwaite's rule alone gives, and with each part's own."""
    z = np.sum([weight * scores[arm] for arm, weight in WEIGHTS.items()], axis=0)
    seeds, prompts = z.shape
    left = z - z.mean(0) - z.mean(1, keepdims=True) + z.mean()
    residual = (left**2).sum() / ((seeds - 1) * (prompts - 1)) / (seeds * prompts)
    parts = np.array([z.mean(1).var(ddof=1) / seeds, z.mean(0).var(ddof=1) / prompts, residual])
    spread = (parts**2 / [seeds - 1, prompts - 1, (seeds - 1) * (prompts - 1)]).sum()
    free = replace(capped, df=capped.standard_error**4 / spread)
    return free, Howe(**vars(capped), v_seed=parts[0], v_prompt=max(parts[1] - residual, 0.0))


def simulate(studies: int, seeds: int, ratio: float) -> tuple[list[Comparison], list[Comparison], list[Comparison]]:
    """Intervals with at most S - 1 degrees of freedom, with Satterthwaite's, and with each part's own."""
    rng = np.random.default_rng([seeds, int(10 * ratio)])
    found = []
    for _ in range(studies):
        scores = study(rng, seeds, ratio)
        capped = contrast(scores, WEIGHTS)
        found.append((capped, *others(scores, capped)))
    capped_ones, free, apart = (list(column) for column in zip(*found, strict=True))
    return capped_ones, free, apart


def table(studies: int) -> Table:
    """Misses at the three levels, before and after, and what the cap costs."""
    rows = []
    for seeds, ratio in CASES:
        capped, free, apart = simulate(studies, seeds, ratio)
        row = [str(seeds), f"{ratio:g}", percent([missed(free, alpha) for alpha in LEVELS])]
        for found in (capped, apart):
            row += [percent([missed(found, alpha) for alpha in LEVELS]), f"{half_width(found) / half_width(free):.2f}"]
        rows.append(row)
    headers = ["seeds", "seed error / prompt error", "Satterthwaite"]
    return [*headers, "at most S - 1", "its width", "parts apart (not in use)", "its width"], rows


if __name__ == "__main__":
    main(table, f"Misses in %, {percent(LEVELS)} promised: four equal arms, {PROMPTS} prompts.")
