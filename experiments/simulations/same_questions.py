"""What do intervals over scores by run say about other questions than the study asked?

Two arms that do not differ on average, asked the same `QUESTIONS` questions in every seed, each arm better at some and
worse at others; a run's score is the share that it gets right, and nothing else of the answers is used:

    P(arm k, seed s, question q right) = expit(level[q] + arm_question_k[q] + seed_k[s])

Runs differ by their seeds alone, so that an interval over them holds for further seeds on these questions. What the
arms would do with other questions is in no run's score: hence "on these questions" in the scope of such verdicts.

    python experiments/simulations/same_questions.py
"""

from __future__ import annotations

import numpy as np
from rates import LEVELS, Table, main, missed, percent
from scipy.special import expit

from unimm.analysis.contrast import Comparison, compare

QUESTIONS, SEEDS, SEED_SD, SPREAD = 300, (3, 5, 10), 0.1, 1.0


def simulate(studies: int, seeds: int) -> tuple[list[Comparison], list[Comparison]]:
    """Intervals for the arms' difference over all questions, and shifted by what it truly is on those asked."""
    rng = np.random.default_rng(seeds)
    over_all, on_these = [], []
    seed_draws = np.sqrt(2) * SEED_SD * np.polynomial.hermite.hermgauss(20)[0]
    weights = np.polynomial.hermite.hermgauss(20)[1] / np.sqrt(np.pi)
    for _ in range(studies):
        level = rng.normal(size=QUESTIONS) + SPREAD * rng.normal(size=(2, QUESTIONS))
        right = expit(level[:, None] + SEED_SD * rng.normal(size=(2, seeds, 1)))
        a, b = rng.binomial(1, right).mean(2)
        true = expit(level[:, :, None] + seed_draws) @ weights
        over_all.append(compare(a, b))
        on_these.append(compare(a - true[0].mean(), b - true[1].mean()))
    return over_all, on_these


def table(studies: int) -> Table:
    """Misses at the three levels of what holds for these questions, and of what holds for all."""
    rows = []
    for seeds in SEEDS:
        over_all, on_these = simulate(studies, seeds)
        rates = [percent([missed(found, alpha) for alpha in LEVELS]) for found in (on_these, over_all)]
        rows.append([str(seeds), *rates])
    return ["seeds", "on these questions", "on other questions"], rows


if __name__ == "__main__":
    main(table, f"Misses in %, {percent(LEVELS)} promised: two arms by run, {QUESTIONS} questions asked in every seed.")
