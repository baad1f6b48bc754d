"""The study of targets: every one is predicted as velocities and as data, by arms that differ in nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from unimm.study.check import check
from unimm.study.expand import expand_study

STUDY = Path(__file__).parents[2] / "ablations" / "studies" / "targets.yaml"


@pytest.mark.slow
def test_targets_are_predicted_as_velocities_and_as_data() -> None:
    plan = expand_study(STUDY)
    for name in ("clip_1", "clip_4", "masked", "vae", "vae_lift", "vae_lift_wide", "pixels"):
        plain, data = (plan.arms[arm].config for arm in (name, f"{name}_x"))
        assert plain["encoder"] == data["encoder"]
        assert (plain["objective"]["name"], data["objective"]["name"]) == ("flow_matching", "x_prediction")
    layers = {name: plan.arms[name].config["encoder"]["layers"] for name in ("clip_1", "clip_4")}
    assert layers == {"clip_1": 1, "clip_4": 4}
    widths = {plan.arms[name].config["encoder"]["channels"] for name in ("vae_lift_wide", "vae_lift_wide_x")}
    assert widths == {768} and plan.arms["vae_lift"].config["encoder"]["channels"] == 128
    assert check(plan) == [], "every claim can get a verdict"
