"""What a study can find, in seed standard deviations: pairs, ranks, main effects, and each claim at its level."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from unimm.analysis.claims import Claims
from unimm.analysis.power import foresee, half_width, minimum_detectable_effect, seeds_needed, smallest_rank_p, table

CORRECTED = 0.05 / 7
MEASURED = {"text": "So.", "metric": "m", "direction": "higher", "budget": "flops", "smallest_effect": 0.1}
PAIR = {"kind": "difference", "role": "primary", "contrast": {"a": 1, "b": -1}}
MAIN = {"a": 0.5, "b": 0.5, "c": -0.5, "d": -0.5}


@pytest.mark.parametrize(
    ("seeds", "alpha", "half", "detectable"),
    [
        (3, 0.05, 2.27, 3.08),
        (3, CORRECTED, 4.14, 5.26),
        (5, 0.05, 1.46, 2.03),
        (5, CORRECTED, 2.27, 2.91),
        (8, 0.05, 1.07, 1.51),
        (8, CORRECTED, 1.57, 2.04),
        (10, 0.05, 0.94, 1.33),
        (10, CORRECTED, 1.36, 1.76),
    ],
)
def test_pairs(seeds: int, alpha: float, half: float, detectable: float) -> None:
    """Published to two digits, the effects from a grid that rounds up by at most 0.015."""
    assert half_width(seeds, alpha=alpha) == pytest.approx(half, abs=0.006)
    assert detectable - 0.015 <= minimum_detectable_effect(seeds, alpha=alpha) <= detectable + 0.005


@pytest.mark.parametrize(("seeds", "alpha"), [(3, 0.05), (5, CORRECTED)])
def test_a_detectable_effect_is_found_four_times_in_five(seeds: int, alpha: float) -> None:
    rng = np.random.default_rng(seeds)
    a, b = (
        rng.normal(minimum_detectable_effect(seeds, alpha=alpha), 1, (20_000, seeds)),
        rng.normal(size=(20_000, seeds)),
    )
    assert np.mean(stats.ttest_ind(a, b, axis=1).pvalue <= alpha) == pytest.approx(0.8, abs=0.01)


def test_effects_are_in_the_unit_of_the_standard_deviation() -> None:
    assert minimum_detectable_effect(5, sd=0.02) == pytest.approx(0.02 * minimum_detectable_effect(5))


def test_main_effects_are_sharper_than_pairs() -> None:
    main = [0.25] * 4 + [-0.25] * 4
    # One value a seed: 4.303 and 2.776 are t's quantiles for 2 and 4 degrees of freedom.
    assert half_width(3, weights=main) == pytest.approx(4.303 * np.sqrt(0.5 / 3), rel=1e-3)
    assert half_width(5, weights=main) == pytest.approx(2.776 * np.sqrt(0.5 / 5), rel=1e-3)
    assert minimum_detectable_effect(3, weights=main) < 0.8 * minimum_detectable_effect(3)


@pytest.mark.parametrize(("seeds", "p"), [(2, 0.33), (3, 0.10), (4, 0.029), (5, 0.0079), (6, 0.0022)])
def test_ranks_have_a_smallest_p_value(seeds: int, p: float) -> None:
    assert smallest_rank_p(seeds) == pytest.approx(p, rel=0.02)


def test_seeds_needed_narrow_the_interval_to_the_smallest_effect() -> None:
    """At the answer, and at no fewer seeds, the half-width of a pair with the same spread is small enough."""
    sd, smallest, alpha = 0.03, 0.02, 0.05 / 6
    needed = seeds_needed(3, sd * np.sqrt(2 / 3), 4, smallest, alpha=alpha)
    assert half_width(needed, sd=sd, alpha=alpha) <= smallest < half_width(needed - 1, sd=sd, alpha=alpha)


def test_no_number_of_seeds_takes_the_prompts_share_away() -> None:
    def needed(lasting: float) -> int | None:
        return seeds_needed(3, 0.03, 4, 0.04, alpha=0.05, lasting_error=lasting)

    alone = [needed(error) for error in (0.0, 0.01, 0.02, 0.0204)]
    assert None not in alone and alone == sorted(alone) and alone[-1] > 10 * alone[0]
    assert needed(0.0205) is None, "1.96 x 0.0205 is more than 0.04"


def test_seeds_needed_are_at_least_those_there() -> None:
    assert seeds_needed(5, 0.001, 8, 0.02, alpha=0.05) == 5


def test_one_seed_plans_nothing() -> None:
    with pytest.raises(ValueError, match="plan for 2 or more"):
        half_width(1)


def test_few_seeds_and_many_claims_still_have_an_answer() -> None:
    assert minimum_detectable_effect(2, alpha=0.05 / 11) > minimum_detectable_effect(2) > 0


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
