"""How often the two-way interval of a mean of overlapping parts misses: `atoms/overall` of two equal arms.

    python experiments/simulations/facts_by_item.py

300 prompts in six tasks; a prompt has an object, a shape and a count fact, those of two tasks a colour, those of one a
relation, and the score is the mean of the five kinds' means (`unimm.report.study.by_item`). Facts are 0, 1/2 or 1 over
two images. Arms share the prompts' difficulty and differ by seed, and in how prompts suit an arm.
"""

from __future__ import annotations

import numpy as np

from unimm.analysis.contrast import compare

TASKS, PROMPTS, IMAGES, STUDIES = 6, 50, 2, 2000
APPLIES = np.array([[1] * 6, [1] * 6, [1] * 6, [0, 0, 0, 1, 0, 1], [0, 0, 0, 0, 1, 0]], dtype=bool)  # part, task
STRATA = [task for task in range(TASKS) for _ in range(PROMPTS)]


def arm(rng: np.random.Generator, hard: np.ndarray, seeds: int, seed_error: float, suits: float) -> np.ndarray:
    """Scores `[seeds, prompts]` whose mean of task means is the score."""
    own = suits * rng.standard_normal((1, TASKS * PROMPTS))
    logits = hard + own + seed_error * rng.standard_normal((seeds, 1))
    chance = 1 / (1 + np.exp(-logits))
    total = np.zeros_like(chance)
    for row in APPLIES:
        part = np.repeat(row, PROMPTS)
        facts = rng.binomial(IMAGES, chance) / IMAGES
        total += np.where(part, facts / (len(APPLIES) * part.sum()), 0)
    return TASKS * PROMPTS * total


def misses(seeds: int, seed_error: float, suits: float, level: float) -> float:
    """Share of studies of two equal arms in which the interval at `level` leaves out 0."""
    rng = np.random.default_rng([seeds, int(100 * seed_error), int(100 * suits)])
    wrong = 0
    for _ in range(STUDIES):
        hard = rng.standard_normal((1, TASKS * PROMPTS))
        found = compare(*(arm(rng, hard, seeds, seed_error, suits) for _ in range(2)), tasks=STRATA)
        low, high = found.interval(level)
        wrong += not low <= 0 <= high
    return wrong / STUDIES


if __name__ == "__main__":
    print("seeds  seed error (logits)  arm x prompt (logits)  misses at 5 %  at 0.83 %")
    for seeds in (3, 5):
        for seed_error in (0.0, 0.1, 0.3):
            for suits in (0.0, 0.5):
                shares = [f"{misses(seeds, seed_error, suits, level):.1%}" for level in (0.05, 0.0083)]
                print(f"{seeds:5}  {seed_error:19}  {suits:21}  {shares[0]:>13}  {shares[1]:>9}", flush=True)
