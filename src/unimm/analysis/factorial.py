"""Main effects and interactions of encoder x objective x strategy, as contrasts over all eight arms.

Every run contributes to every effect, so that with 5 seeds an arm a main effect has an interval of +-0.80 seed
standard deviations where a pair of arms has +-1.45 (medians, `unimm.analysis.power`). An effect is taken in every seed
and its spread over seeds is the error, because arms of a seed are not independent; with 3 seeds that leaves two degrees
of freedom and +-1.46.

With signs x_f = +-1 of the k factors named, of n, arm a weighs prod_f x_f(a) * 2^(k - n): a main effect is the mean
of the upper arms minus the mean of the lower ones, and an interaction is a difference of such differences.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations, product
from math import prod

from numpy.typing import ArrayLike

from unimm.analysis.contrast import Comparison, contrast

Design = Mapping[str, Mapping[str, int]]

# Arm -> factor -> +1 for the level that the BLIP3-o paper recommends (clip, flow matching, sequential), -1 otherwise.
ARMS: Design = {
    f"{encoder}_{objective}{joint}": {"encoder": x, "objective": y, "strategy": z}
    for (encoder, x), (objective, y), (joint, z) in product(
        (("clip", 1), ("vae", -1)), (("fm", 1), ("mse", -1)), (("", 1), ("_joint", -1))
    )
}


def effect_weights(factors: Collection[str], design: Design = ARMS) -> dict[str, float]:
    """Weight of every arm in the main effect of one factor or in the interaction of several.

    Raises:
        ValueError: an unknown factor, or a design that lacks some combination of levels.
    """
    known = _check_complete(design)
    unknown = sorted(set(factors) - set(known))
    if unknown or not factors:
        raise ValueError(f"no factor {', '.join(unknown) or 'named'}; factors: {', '.join(known)}")
    scale = 2.0 ** (len(factors) - len(known))
    return {arm: scale * prod(signs[factor] for factor in factors) for arm, signs in design.items()}


def effects(
    cells: Mapping[str, ArrayLike],
    design: Design = ARMS,
    *,
    alpha: float = 0.05,
    tasks: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
    fixed_prompts: bool = False,
) -> dict[str, Comparison]:
    """Every main effect and interaction, by name (`encoder`, `encoder x objective`).

    `cells` holds scores by arm, `[seeds]` or `[seeds, prompts]`; options and errors are those of `contrast`.
    """
    known = _check_complete(design)
    terms = [term for size in range(1, len(known) + 1) for term in combinations(known, size)]
    return {
        " x ".join(term): contrast(
            cells, effect_weights(term, design), alpha=alpha, tasks=tasks, texts=texts, fixed_prompts=fixed_prompts
        )
        for term in terms
    }


def _check_complete(design: Design) -> list[str]:
    """The factors of a design that has every combination of levels once."""
    known = list(next(iter(design.values())))
    cells = {tuple(signs[factor] for factor in known) for signs in design.values()}
    if cells != set(product((1, -1), repeat=len(known))) or len(cells) != len(design):
        raise ValueError(f"the design needs each of the {2 ** len(known)} combinations of {', '.join(known)} once")
    return known
