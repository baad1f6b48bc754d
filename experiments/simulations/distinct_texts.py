"""Do intervals hold for new texts where a test asks each text several times?

Two arms that do not differ on average, on the 300 prompts of *scenes-nano*'s test, which are 150 texts; images are
right or wrong:

    P(arm k, seed s, prompt p right) = expit(q[text] + arm_text_k[text] + seed_k[s])

An arm is better at some texts and worse at others (`arm_text`, standard deviation in logits). Whoever asks whether arms
differ on such texts, and not on these 150, has 150 texts to go by and no 300 prompts.

    python experiments/simulations/distinct_texts.py
"""

from __future__ import annotations

import numpy as np
from rates import LEVELS, Table, main, missed, percent
from scipy.special import expit

from unimm.analysis.contrast import Comparison, compare

# Texts of each task among its 50 prompts, which are dealt to them as evenly as they go.
TEXTS = {"single_object": 4, "two_object": 12, "counting": 12, "colors": 24, "position": 48, "color_attr": 50}
PROMPTS, SEED_SD = 50, 0.1
SEEDS, SPREADS = 3, (0.0, 0.5, 1.0, 2.0)


def simulate(studies: int, spread: float, seeds: int = SEEDS) -> tuple[list[Comparison], list[Comparison]]:
    """Intervals that count every prompt, and those that count texts."""
    rng = np.random.default_rng(int(10 * spread))
    tasks = [task for task in TEXTS for _ in range(PROMPTS)]
    texts = [f"{task} {number % size}" for task, size in TEXTS.items() for number in range(PROMPTS)]
    _, which = np.unique(texts, return_inverse=True)
    by_prompt, by_text = [], []
    for _ in range(studies):
        text = rng.normal(-0.5, 1.0, (1, which.max() + 1)) + spread * rng.normal(size=(2, which.max() + 1))
        logits = text[:, None, which] + SEED_SD * rng.normal(size=(2, seeds, 1))
        a, b = rng.binomial(1, expit(logits)).astype(float)
        by_prompt.append(compare(a, b, tasks=tasks))
        by_text.append(compare(a, b, tasks=tasks, texts=texts))
    return by_prompt, by_text


def table(studies: int) -> Table:
    """Misses at the three levels, before and after."""
    rows = []
    for spread in SPREADS:
        found = simulate(studies, spread)
        rows.append([f"{spread:g}", *(percent([missed(each, alpha) for alpha in LEVELS]) for each in found)])
    return ["arm x text spread (logits)", "by prompt", "by text"], rows


if __name__ == "__main__":
    note = f"Misses in %, {percent(LEVELS)} promised: two arms that are equal on average over texts, {SEEDS} seeds."
    main(table, note)
