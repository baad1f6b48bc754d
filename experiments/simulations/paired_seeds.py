"""What does it do to a pair of arms that they share their seeds, and what does it cost to compare seed by seed?

Two equal arms whose scores by run have variance 1 and correlate by `r` over seeds: the same data order is good for both
(r > 0, as where both continue one first stage), or good for one and bad for the other (r < 0). The difference has

    var(mean_a - mean_b) = 2 (1 - r) / S,    Welch takes 2 / S on 2 (S - 1) degrees of freedom, pairs what is on S - 1

so that Welch's interval is too wide for r > 0 and too narrow for r < 0, whatever S; that of pairs is exact.

    python experiments/simulations/paired_seeds.py
"""

from __future__ import annotations

from itertools import product

import numpy as np
from rates import LEVELS, Table, half_width, main, missed, percent

from unimm.analysis.contrast import Comparison, compare

SEEDS, CORRELATIONS = (3, 5, 10), (-0.5, 0.0, 0.5, 0.8, 0.998)


def simulate(studies: int, seeds: int, r: float) -> tuple[list[Comparison], list[Comparison]]:
    """Welch's intervals and those of pairs."""
    rng = np.random.default_rng([seeds, int(1000 * (1 + r))])
    factor = np.linalg.cholesky([[1, r], [r, 1]])
    scores = factor @ rng.normal(size=(studies, 2, seeds))
    return [compare(a, b) for a, b in scores], [compare(a, b, paired=True) for a, b in scores]


def table(studies: int) -> Table:
    """Misses at the three levels, and how wide pairs are beside Welch."""
    rows = []
    for seeds, r in product(SEEDS, CORRELATIONS):
        found = simulate(studies, seeds, r)
        rates = [percent([missed(each, alpha) for alpha in LEVELS]) for each in found]
        rows.append([str(seeds), f"{r:g}", *rates, f"{half_width(found[1]) / half_width(found[0]):.2f}"])
    return ["seeds", "correlation of the arms", "Welch", "paired by seed", "width against Welch"], rows


if __name__ == "__main__":
    main(table, f"Misses in %, {percent(LEVELS)} promised: two equal arms, scores by run.")
