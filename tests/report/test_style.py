"""Arms look different in every figure, however many pairs of encoder and objective a study has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from unimm.report.study.style import looks


def arms(pairs: int, of_each: int) -> dict[str, Any]:
    named = {}
    for pair in range(pairs):
        parts = {"encoder": f"e{pair % 2}", "objective": f"o{pair // 2}", "strategy": "sequential"}
        for again in range(of_each):
            named[f"{pair}.{again}"] = SimpleNamespace(component=parts.__getitem__)
    return named


@pytest.mark.parametrize(("pairs", "of_each"), [(4, 1), (12, 1), (12, 3), (49, 1)])
def test_no_two_arms_look_alike(pairs: int, of_each: int) -> None:
    found = looks(arms(pairs, of_each))
    assert len({(look.colour, look.marker, look.line) for look in found.values()}) == pairs * of_each


def test_the_first_seven_pairs_have_a_colour_of_their_own() -> None:
    assert len({look.colour for look in looks(arms(7, 1)).values()}) == 7
