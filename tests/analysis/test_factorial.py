"""Effects of the 2 x 2 x 2: planted ones come back, weights by hand, half-widths and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.analysis.contrast import compare, contrast
from unimm.analysis.factorial import ARMS, effect_weights, effects
from unimm.analysis.power import half_width, same_spread


def test_the_arms_are_those_of_the_paper_and_their_joint_twins() -> None:
    names = {"clip_fm", "clip_mse", "vae_fm", "vae_mse"}
    assert set(ARMS) == names | {f"{name}_joint" for name in names}
    assert ARMS["vae_fm_joint"] == {"encoder": -1, "objective": 1, "strategy": -1}


def test_planted_effects_come_back() -> None:
    """Encoder 0.4, objective 0.2, and 0.1 more for CLIP under flow matching than under MSE."""
    rng = np.random.default_rng(0)
    cells = {
        arm: 0.4 * (x["encoder"] > 0)
        + 0.2 * (x["objective"] > 0)
        + 0.1 * (x["encoder"] * x["objective"]) / 4
        + rng.normal(0, 0.01, 5)
        for arm, x in ARMS.items()
    }
    found = effects(cells)
    assert list(found)[:4] == ["encoder", "objective", "strategy", "encoder x objective"] and len(found) == 7
    planted = {"encoder": 0.4, "objective": 0.2, "encoder x objective": 0.1}
    for name, effect in found.items():
        assert effect.estimate == pytest.approx(planted.get(name, 0.0), abs=0.03)
        assert (effect.low > 0) == (name in planted)


def test_a_main_effect_is_a_mean_less_a_mean() -> None:
    weights = effect_weights(["encoder"])
    assert all(weight == (0.25 if arm.startswith("clip") else -0.25) for arm, weight in weights.items())
    interaction = effect_weights(["encoder", "objective"])
    assert interaction["clip_fm"] == interaction["vae_mse_joint"] == 0.5 == -interaction["vae_fm"]
    assert abs(effect_weights(["encoder", "objective", "strategy"])["clip_fm"]) == 1


def test_a_design_of_two_arms_is_a_comparison() -> None:
    rng = np.random.default_rng(1)
    cells = {"a": rng.random((3, 9)), "b": rng.random((3, 9))}
    assert effects(cells, {"a": {"x": 1}, "b": {"x": -1}}) == {"x": compare(cells["a"], cells["b"])}


def test_unknown_factors_and_holes_are_refused() -> None:
    with pytest.raises(ValueError, match="no factor encodr; factors: encoder, objective, strategy"):
        effect_weights(["encodr"])
    holed = {arm: signs for arm, signs in ARMS.items() if arm != "vae_mse"}
    with pytest.raises(ValueError, match="each of the 8 combinations"):
        effects({}, holed)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_main_effects_cover_and_are_as_sharp_as_planned(seeds: int, ratio: float) -> None:
    """Half-widths in seed standard deviations; half of the arms vary `ratio` times as much for the coverage."""
    rng = np.random.default_rng(seeds)
    weights, spread = effect_weights(["encoder"]), np.resize([1.0, ratio], (8, 1))
    found = []
    for scores in rng.normal(size=(2000, 8, seeds)) * spread:
        found.append(contrast(dict(zip(ARMS, scores, strict=True)), weights))
    assert 0.92 <= np.mean([result.low <= 0 <= result.high for result in found]) <= 0.99
    if ratio == 1:
        median = np.median([(result.high - result.low) / 2 for result in found])
        planned = half_width(seeds, spread=same_spread(list(weights.values()), by_seed=True))
        assert median == pytest.approx(planned, rel=0.05)


def test_main_effects_by_prompt_cover() -> None:
    """The two-way analogue: arms with prompt x arm effects of their own, on prompts that all share.

    The error is the estimate's spread; the interval is wider than that asks for, as its degrees of freedom are at most
    those that 3 seeds leave although most of the error here is the prompts'.
    """
    rng = np.random.default_rng(4)
    weights, found = effect_weights(["objective"]), []
    for _ in range(600):
        scores = rng.normal(0, 0.1, (8, 3, 1)) + rng.normal(0, 0.5, (8, 1, 60)) + rng.normal(0, 1, (8, 3, 60))
        result = contrast(dict(zip(ARMS, scores + rng.normal(size=60), strict=True)), weights)
        found.append(result)
    assert np.mean([result.low <= 0 <= result.high for result in found]) >= 0.92
    spread = np.std([result.estimate for result in found])
    assert np.sqrt(np.mean([result.standard_error**2 for result in found])) == pytest.approx(spread, rel=0.12)
    assert all(result.df <= 2 for result in found)
