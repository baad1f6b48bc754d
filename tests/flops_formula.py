"""FLOPs of a transformer by formula: what counts are checked against.

Nothing of unimm is imported here, so that the formula is independent of what it checks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Projection(NamedTuple):
    """Matrices with so many weights in all that multiply so many tokens (of the whole batch)."""

    weights: int
    tokens: int


class Attention(NamedTuple):
    """Scores and weighted sums of one attention, its heads' widths summed; a causal one counts in full."""

    batch: int
    queries: int
    keys: int
    width: int


def analytic_flops(projections: Iterable[Projection], attentions: Iterable[Attention], training: bool) -> int:
    """FLOPs of a transformer step by formula: 2 a weight and token, 4 b q k w an attention.

    ``training`` adds the backward pass (2 and 2.5 times the forward one) as if every input and weight needed its
    gradient. The formula leaves out what is small; a count should lie within 20 % of it.
    """
    products = sum(2 * weights * tokens for weights, tokens in projections)
    scores = sum(4 * batch * queries * keys * width for batch, queries, keys, width in attentions)
    return 3 * products + 7 * scores // 2 if training else products + scores
