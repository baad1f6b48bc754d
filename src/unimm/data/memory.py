"""How many images go through a network at once: so many pixels, whatever their side."""

from __future__ import annotations

SIDE = 64


def at_once(count: int, side: int) -> int:
    """How many images of ``side`` pixels take no more memory than ``count`` of the scenes' 64; at least one.

    Results do not depend on it, but for rounding: noise belongs to samples, never to batches.
    """
    return max(1, count * SIDE**2 // max(side, SIDE) ** 2)
