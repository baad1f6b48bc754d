"""Warnings beside verdicts: how often they are said of normal runs where intervals fail, and their words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from unimm.analysis.claims import Claims
from unimm.analysis.doubts import collapsed, doubts, grubbs_limit, skewed
from unimm.analysis.results import Curve, StudyResults
from unimm.analysis.verdicts import decide

STUDIES = 1000
PAIR = {"a": 1.0, "b": -1.0}
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def normal(mean: float, sd: float) -> Draw:
    return lambda rng, shape: rng.normal(mean, sd, shape)


def said(a: Draw, b: Draw, seeds: int) -> tuple[float, float]:
    """How often a pair of arms is called skewed, and how often a run collapsed."""
    rng = np.random.default_rng(seeds)
    studies = [
        dict(zip("ab", runs, strict=True)) for runs in zip(*(arm(rng, (STUDIES, seeds)) for arm in (a, b)), strict=True)
    ]
    return tuple(
        float(np.mean([bool(rule(study)) for study in studies])) for rule in (lambda s: skewed(s, PAIR), collapsed)
    )


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (normal(0.5, 0.05), normal(0.5, 0.05)),
        (normal(0.5, 0.02), normal(0.5, 0.06)),
        (normal(0.25, 0.05), normal(0.25, 0.005)),
        (normal(0.8, 0.05), normal(0.5, 0.01)),
        (normal(-1.0, 1.0), normal(3.0, 1.0)),
    ],
)
def test_normal_runs_are_seldom_warned_of(a: Draw, b: Draw, seeds: int) -> None:
    """Equal and unequal spreads, from 4 standard deviations off an end; one in twenty at most."""
    for share in said(a, b, seeds):
        assert share <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / STUDIES)


@pytest.mark.parametrize(
    ("arm", "share"),
    [
        (lambda rng, shape: rng.lognormal(0, 0.7, shape) / 10, (0.5, 0.6, 0.7)),
        (lambda rng, shape: rng.beta(0.5, 16, shape), (0.7, 0.9, 0.98)),
        (lambda rng, shape: 1 - rng.beta(0.5, 16, shape), (0.7, 0.9, 0.98)),
        (lambda rng, shape: np.where(rng.random(shape) < 0.8, 0, rng.beta(2, 20, shape)), (0.9, 0.9, 0.9)),
    ],
)
def test_skewed_arms_against_a_tight_one_are_warned_of(arm: Draw, share: tuple[float, ...]) -> None:
    for seeds, least in zip((3, 5, 10), share, strict=True):
        assert said(arm, normal(0.5, 0.004), seeds)[0] >= least


def test_skew_of_two_like_arms_cancels() -> None:
    """Whose intervals cover 97 %: half of the time at most one of them makes most of the variance."""
    arm: Draw = lambda rng, shape: rng.beta(0.5, 16, shape)  # noqa: E731
    assert said(arm, arm, 10)[0] < 0.3 < 0.9 < said(arm, normal(0.5, 0.004), 10)[0]


def test_collapsed_seeds_are_seen_with_more_than_a_few_seeds() -> None:
    """One run in ten at -6 standard deviations. In 10 seeds 65 % of arms have one, and several hide each other."""
    arm: Draw = lambda rng, shape: rng.normal(0, 1, shape) - 6 * (rng.random(shape) < 0.1)  # noqa: E731
    found = [said(arm, normal(0, 1), seeds)[1] for seeds in (3, 5, 10)]
    assert found[0] == 0 and found[1] > 0.08 and found[2] > 0.28


@pytest.mark.parametrize("count", [4, 5, 10])
def test_the_limit_is_that_of_grubbs(count: int) -> None:
    """Published for a two-sided 5 %: 1.481, 1.715, 2.290 (Grubbs and Beck 1972, table I at 2.5 %)."""
    assert grubbs_limit(count, 0.05) == pytest.approx({4: 1.481, 5: 1.715, 10: 2.290}[count], abs=5e-4)


def measured(**changes: Any) -> Any:
    entry = {"id": "it", "text": "So.", "kind": "difference", "role": "primary", "metric": "m", "direction": "higher"}
    entry |= {"budget": "flops", "contrast": {"a": 1, "b": -1}, "smallest_effect": 0.02} | changes
    given = {key: value for key, value in entry.items() if value is not None}
    return Claims.model_validate({"alpha": 0.05, "claims": [given]}).claims[0]


def results(**scores: Any) -> StudyResults:
    arrays = {arm: np.asarray(values, dtype=float) for arm, values in scores.items()}
    return StudyResults("a test", scores={"flops": {"m": arrays}})


TIGHT = [0.50, 0.51, 0.52, 0.505, 0.515]
FAILED = [0.50, 0.51, 0.52, 0.505, 0.2]


def test_each_warning_names_its_arm() -> None:
    [near] = doubts(measured(), results(a=TIGHT[:3], b=[0.01, 0.0, 0.1]))
    assert "The runs of b reach to an end of the scale" in near
    [far] = doubts(measured(), results(a=TIGHT, b=FAILED))
    assert "One seed of b lies far from its others (0.2, they at 0.509 on average)" in far
    assert doubts(measured(), results(a=TIGHT, b=TIGHT)) == ()


def test_a_run_nearer_than_the_smallest_effect_is_no_collapse() -> None:
    assert doubts(measured(smallest_effect=0.4), results(a=TIGHT, b=FAILED)) == ()


def test_two_equal_runs_of_three_make_no_collapse() -> None:
    assert doubts(measured(), results(a=TIGHT[:3], b=[0.23, 0.23, 0.177])) == ()


def test_the_best_arm_is_looked_at_with_every_rival() -> None:
    claim = measured(kind="best-cell", best="a", others=["b", "c"], contrast=None)
    near, far = doubts(claim, results(a=TIGHT, b=FAILED, c=[0.0, 0.09, 0.1, 0.01, 0.0]))
    assert "runs of c reach" in near and "seed of b lies far" in far


def test_contrasts_of_many_arms_are_looked_at_by_seed() -> None:
    """A seed that all arms of a side lose shows in the contrast; one that both sides lose does not."""
    claim = measured(contrast={"a": 0.5, "b": 0.5, "c": -0.5, "d": -0.5})
    [found] = doubts(claim, results(a=FAILED, b=FAILED, c=TIGHT, d=TIGHT[::-1]))
    assert "One seed of the contrast by seed" in found
    rising = np.linspace(0.5, 0.52, 5)
    both = dict.fromkeys("abcd", np.array(FAILED))
    assert doubts(claim, results(**both | {"c": np.array(FAILED) + rising})) == ()


def test_paired_arms_are_looked_at_by_their_differences() -> None:
    """A seed that both arms lose is none that their difference loses."""
    lost = np.add(FAILED, [0.0, 0.001, 0.002, 0.004, 0.003])
    assert doubts(measured(paired=True), results(a=FAILED, b=lost)) == ()
    assert len(doubts(measured(), results(a=FAILED, b=lost))) == 2
    [found] = doubts(measured(paired=True), results(a=TIGHT, b=FAILED))
    assert "One seed of the contrast by seed" in found
    best = measured(kind="best-cell", best="a", others=["b"], contrast=None, paired=True)
    [found] = doubts(best, results(a=TIGHT, b=FAILED))
    assert "One seed of the difference from b" in found


def test_logarithms_have_no_end_to_be_skewed_at() -> None:
    scores = {"a": TIGHT[:3], "b": [0.01, 0.001, 0.1]}
    claim = {key: value for key, value in measured().model_dump(exclude_none=True).items() if key != "smallest_effect"}
    log = Claims.model_validate({"alpha": 0.05, "claims": [claim | {"scale": "log", "smallest_ratio": 1.5}]}).claims[0]
    assert doubts(log, results(**scores)) == () != doubts(measured(), results(**scores))


def test_censored_curves_are_counted_beside_the_verdict() -> None:
    costs = np.tile(np.geomspace(1, 1000, 10), (4, 1))
    rise = 0.5 + 0.2 * (np.log10(costs) - 1 - np.array([[0.0], [0.1], [0.2], [0.3]]))
    late = rise.copy()
    late[3] = 0.1
    study = StudyResults(
        "a test", curves={"m": {"a": Curve({"flops": costs}, rise), "b": Curve({"flops": costs}, late)}}
    )
    entry = {"id": "it", "text": "So.", "kind": "reach", "role": "primary", "metric": "m", "direction": "higher"}
    entry |= {"budget": "flops", "target": 0.5, "faster": "a", "slower": "b", "smallest_ratio": 1.2}
    [verdict] = decide(Claims.model_validate({"alpha": 0.05, "claims": [entry]}), study)
    [warning] = verdict.warnings
    assert warning.startswith("What 1 of 4 runs of b paid is only bounded")
