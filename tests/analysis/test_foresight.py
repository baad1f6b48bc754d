"""What a study can find: levels by family, numbers of the power functions, words for what they leave out."""

from __future__ import annotations

from typing import Any

import pytest

from unimm.analysis.claims import Claims
from unimm.analysis.power import foresee, half_width, minimum_detectable_effect, table

MEASURED = {"text": "So.", "metric": "m", "direction": "higher", "budget": "flops", "smallest_effect": 0.1}
PAIR = {"kind": "difference", "role": "primary", "contrast": {"a": 1, "b": -1}}
MAIN = {"a": 0.5, "b": 0.5, "c": -0.5, "d": -0.5}


def family(*entries: dict[str, Any]) -> Claims:
    invariant = {"id": "fact", "text": "So.", "kind": "invariant", "holds": {"x": ["a"]}}
    return Claims.model_validate({"alpha": 0.05, "claims": [*(MEASURED | entry for entry in entries), invariant]})


def test_every_claim_has_its_familys_level() -> None:
    claims = family(
        PAIR | {"id": "one"}, PAIR | {"id": "two", "contrast": MAIN}, PAIR | {"id": "x", "role": "secondary"}
    )
    one, two, exploratory = foresee(claims, 3)
    assert one.level == two.level == pytest.approx(0.025) and exploratory.level == 0.05
    assert one.half_width == half_width(3, alpha=0.025)
    assert two.detectable == minimum_detectable_effect(3, alpha=0.025, weights=[0.5, 0.5, -0.5, -0.5])


def test_a_ratio_of_costs_may_stay_open_with_few_seeds() -> None:
    reach = {key: value for key, value in MEASURED.items() if key != "smallest_effect"}
    entry = reach | {"kind": "reach", "role": "primary", "target": 0.5, "faster": "a", "slower": "b"}
    claims = Claims.model_validate({"alpha": 0.05, "claims": [entry | {"id": "r", "smallest_ratio": 1.2}]})
    assert foresee(claims, 3)[0].note == "of log costs; open if any run misses the target"
    assert foresee(claims, 4)[0].note == "of log costs"


def test_the_table_names_claims_and_unit() -> None:
    best = {"id": "best", "kind": "best-cell", "role": "primary", "best": "a", "others": ["b"]}
    claims = family(PAIR | {"id": "one"}, best)
    text = table(foresee(claims, 5), 5)
    assert "What 5 seeds an arm can find, in standard deviations" in text
    assert "fact" not in text and "(of each rival)" in text and "±" in text
