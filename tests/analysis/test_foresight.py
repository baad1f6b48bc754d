"""What a study can find, claim by claim: each at its family's level, with spreads from pilots where there are any."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unimm.analysis.claims import Claims
from unimm.analysis.foresight import foresee, table
from unimm.analysis.power import Spread, half_width, minimum_detectable_effect, power
from unimm.analysis.results import StudyResults

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
    main = Spread((1.0,))
    assert two.detectable == minimum_detectable_effect(3, alpha=0.025, spread=main)
    shared = minimum_detectable_effect(3, alpha=0.025, spread=Spread((2.0,)))
    assert two.note == f"{shared:.2f} if the arms of one side share 1" and two.chance is None


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


def pilots(scores: dict[str, Any], **more: Any) -> StudyResults:
    arrays = {arm: np.asarray(values, dtype=float) for arm, values in scores.items()}
    return StudyResults("a test", scores={"flops": {"m": arrays}}, **more)


def test_pilots_tell_how_much_each_arm_varies() -> None:
    claims = family(PAIR | {"id": "one"}, PAIR | {"id": "other", "contrast": {"a": 1, "z": -1}})
    one, other = foresee(claims, 5, pilots({"a": [0.1, 0.2, 0.3], "b": [0.5, 0.8, 1.1]}))
    spread = Spread((0.01, 0.09))
    assert one.detectable == pytest.approx(minimum_detectable_effect(5, alpha=0.025, spread=spread))
    assert one.chance == pytest.approx(power(5, 0.1, alpha=0.025, spread=spread))
    assert other.chance is None and other.half_width == half_width(5, alpha=0.025), "the pilots have no such arm"
    text = table([one, other], 5, 3)
    assert "standard deviations between seeds" in text and "pilots of 3 seeds" in text
    assert "0.52 to 6.28 times" in text, "chi-square with 2 degrees of freedom: sqrt(2 / 7.378), sqrt(2 / 0.0506)"


def test_paired_claims_have_the_spread_of_their_differences() -> None:
    claims = family(PAIR | {"id": "one", "paired": True})
    [blind] = foresee(claims, 3)
    assert blind.detectable == minimum_detectable_effect(3, spread=Spread((2.0,)))
    [found] = foresee(claims, 3, pilots({"a": [0.1, 0.5, 0.9], "b": [0.2, 0.5, 1.0]}))
    assert found.detectable == pytest.approx(minimum_detectable_effect(3, spread=Spread((0.01 / 3,))))


def test_pilots_that_share_a_first_stage_are_paired_unasked() -> None:
    scores = {"a": [0.1, 0.5, 0.9], "b": [0.2, 0.5, 1.0]}
    [found] = foresee(family(PAIR | {"id": "one"}), 3, pilots(scores, first_stage={"a": "a", "b": "a"}))
    assert found.detectable == pytest.approx(minimum_detectable_effect(3, spread=Spread((0.01 / 3,))))


def test_pilots_tell_what_the_arms_of_a_seed_share() -> None:
    """Joint arms that move together by 0.3: their contrast varies by that, and not by the arms' own part alone."""
    together = np.array([-0.3, 0.0, 0.3])
    own = np.array([0.02, -0.04, 0.02])
    scores = {"a": own, "b": own, "c": together + own, "d": together - own}
    [found] = foresee(family(PAIR | {"id": "main", "contrast": MAIN}), 3, pilots(scores))
    spread = Spread((float((own - together).var(ddof=1)),))
    assert found.detectable == pytest.approx(minimum_detectable_effect(3, spread=spread)) and found.note == ""


def test_pilots_with_scores_by_prompt_have_the_prompts_part() -> None:
    rng = np.random.default_rng(0)
    by_prompt = {arm: rng.normal(0, 1, 40) + 0.01 * rng.normal(size=(3, 40)) for arm in "ab"}
    by_run = {arm: values.mean(1) for arm, values in by_prompt.items()}
    with_prompts, without = (
        foresee(family(PAIR | {"id": "one"}), 3, pilots(scores))[0] for scores in (by_prompt, by_run)
    )
    prompts = float(np.std(np.mean(by_prompt["a"] - by_prompt["b"], axis=0), ddof=1) / np.sqrt(40))
    assert without.detectable < 0.1 < 2.8 * prompts < with_prompts.detectable


def test_logarithms_are_foreseen_as_ratios() -> None:
    entry = {key: value for key, value in (MEASURED | PAIR).items() if key != "smallest_effect"}
    claims = Claims.model_validate(
        {"alpha": 0.05, "claims": [entry | {"id": "r", "scale": "log", "smallest_ratio": 2}]}
    )
    [found] = foresee(claims, 3, pilots({"a": [1.0, 2.0, 4.0], "b": [3.0, 3.3, 3.6]}))
    assert found.is_ratio and found.margin == pytest.approx(np.log(2))
    spread = Spread((np.log(2) ** 2, float(np.log([3.0, 3.3, 3.6]).var(ddof=1))))
    assert found.detectable == pytest.approx(minimum_detectable_effect(3, spread=spread))
    assert f"x{np.exp(found.detectable):.3g}" in table([found], 3, 3)


def test_pilots_tell_what_more_prompts_and_images_would_buy() -> None:
    """Planted: V = A / S + B / P + (G + W / K) / (S P), from which the true spreads with twice as many follow."""
    seeds, prompts, images = 400, 120, 2
    own, shared, both, within = 1.0, 8.0, 30.0, 60.0  # A, B (of the contrast), G and W, of one arm
    rng = np.random.default_rng(4)
    scores, noise = {}, {}
    for arm in ("a", "b"):
        of_prompts = np.sqrt(shared / 2) * rng.standard_normal(prompts)
        each = np.sqrt(within) * rng.standard_normal((seeds, prompts, images))
        rest = np.sqrt(both) * rng.standard_normal((seeds, prompts))
        scores[arm] = np.sqrt(own) * rng.standard_normal((seeds, 1)) + of_prompts + rest + each.mean(axis=2)
        noise[arm] = float(each.var(axis=2, ddof=1).mean() / images / prompts)
    (found,) = foresee(family(PAIR | {"id": "one"}), 3, pilots(scores, image_noise={"m": noise}))

    def smallest(seeds: int, prompts: int, images: int) -> float:
        term = own + (both + within / images) / prompts
        spread = Spread((term, term), shared / prompts)
        return minimum_detectable_effect(seeds, alpha=0.05, spread=spread)

    assert found.detectable == pytest.approx(smallest(3, prompts, images), rel=0.05)
    truth = {"seeds": (6, prompts, images), "prompts": (3, 2 * prompts, images), "images": (3, prompts, 2 * images)}
    for what, sizes in truth.items():
        assert found.twice[what] == pytest.approx(smallest(*sizes), rel=0.05), what
    assert found.twice["images"] < found.detectable - 0.01
    text = table([found], 3, seeds)
    assert "2x seeds  2x prompts  2x images a prompt" in text
    (by_run,) = foresee(family(PAIR | {"id": "one"}), 3, pilots({arm: rows[:, 0] for arm, rows in scores.items()}))
    assert by_run.twice["prompts"] is None and by_run.twice["images"] is None
    assert table([by_run], 3, seeds).splitlines()[-1].split()[-2:] == ["-", "-"]
