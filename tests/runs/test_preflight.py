"""What a run says of its encoder before it trains: nothing of sound ones, and of others what is wrong, and how far."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unimm.config import load
from unimm.runs import stages
from unimm.runs.preflight import Ceiling, Scale, doubts
from unimm.runs.run import Run

ABLATIONS = Path(__file__).parents[2] / "ablations"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))


def said(tmp_path: Path, arm: str, *overrides: str) -> list[str]:
    return doubts(Run(load(ABLATIONS / f"{arm}.yaml", ["profile=tiny", *overrides]), tmp_path / "run", CPU))


@pytest.mark.parametrize("arm", ["vae_fm", pytest.param("clip_fm", marks=pytest.mark.slow)])
def test_nothing_is_said_of_the_shipped_arms(arm: str, tmp_path: Path) -> None:
    assert said(tmp_path, arm) == []


def test_raw_latents_far_from_unit_scale_are_named(tmp_path: Path) -> None:
    (doubt,) = said(tmp_path, "vae_fm", "encoder=wrong_components:Dct")
    assert doubt.startswith(
        "encoder=wrong_components:Dct: its latents are far from unit scale: half of the 768 channels"
    )
    assert doubt.endswith("CalibratedEncoder, which standardises (docs/extending.md)")


def test_a_decoder_that_gives_nothing_back_is_named(tmp_path: Path) -> None:
    (doubt,) = said(tmp_path, "vae_fm", "encoder=wrong_components:Forgetful")
    assert "its images do not come back: 0." in doubt and "No training can score higher" in doubt


def test_a_ceiling_is_low_where_less_than_half_of_what_lies_above_chance_is_left() -> None:
    assert Ceiling(1.0, 0.69, 0.4, 24).is_low and not Ceiling(1.0, 0.71, 0.4, 24).is_low
    assert Ceiling(1.0, 0.7, 0.4, 24).kept == pytest.approx(0.5)


def test_a_scale_is_far_where_most_channels_are_beyond_a_factor_of_4() -> None:
    assert Scale(torch.tensor([0.2, 5.0, 1.0])).is_far and not Scale(torch.tensor([0.3, 3.0, 9.0])).is_far
    assert Scale(torch.tensor([float("nan")] * 3)).is_far


def test_a_run_says_it_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt("training begins")

    monkeypatch.setattr("unimm.runs.job.train", stop)
    config = load(ABLATIONS / "vae_fm.yaml", ["profile=tiny", "encoder=wrong_components:Dct"])
    with pytest.raises(KeyboardInterrupt, match="training begins"):
        stages.run(config, tmp_path / "run")
    assert "warning: encoder=wrong_components:Dct: its latents are far from unit scale" in capsys.readouterr().err
