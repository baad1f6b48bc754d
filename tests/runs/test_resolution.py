"""Tokens and cost at higher resolutions, measured on the shipped foundation's own encoders."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unimm.config import load
from unimm.runs.cost import resolution_scaling
from unimm.runs.record import ResolutionPoint
from unimm.runs.run import Run

ABLATIONS = Path(__file__).parents[2] / "ablations"


def measured(*overrides: str) -> tuple[Any, list[ResolutionPoint]]:
    config = load(ABLATIONS / "clip_mse.yaml", ["profile=tiny", *overrides])
    run = Run(config, Path("unused"), torch.device("cpu"))
    arm = run.arm
    before, started = torch.get_rng_state(), time.monotonic()
    points = resolution_scaling(run)
    assert time.monotonic() - started < 10  # under 2 s on an idle core
    assert bool((torch.get_rng_state() == before).all())
    return arm, points


@pytest.mark.parametrize("head", ["dit", "linear"])
def test_clip_tokens_stay_and_vae_tokens_grow_with_the_image(head: str) -> None:
    arm, clip = measured(f"head={head}")
    assert clip[0].tokens == arm.encoder.latent_spec().tokens
    assert [point.resolution // arm.foundation.resolution for point in clip] == [1, 2, 4]
    assert len({(point.tokens, point.head_flops) for point in clip}) == 1 and clip[0].head_flops > 0
    arm, vae = measured(f"head={head}", "encoder=vae")
    base = arm.encoder.latent_spec().tokens
    assert [point.tokens for point in vae] == [base, 4 * base, 16 * base]
    first, second, third = (point.head_flops for point in vae)
    assert 2 * first < second < third / 2


def test_an_encoder_made_for_one_size_is_measured_as_far_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    from unimm.encoders.clip import Clip

    encode = Clip.encode

    def one_size(self: Clip, images: torch.Tensor) -> torch.Tensor:
        if images.shape[-1] > 64:
            raise RuntimeError("position embeddings are for 64 pixels")
        return encode(self, images)

    monkeypatch.setattr(Clip, "encode", one_size)
    _, points = measured()
    assert len(points) == 1


@pytest.mark.parametrize(
    ("source", "settings", "tokens"),
    [
        ("autoencoder_kl", ["encoder=autoencoder_kl", "encoder.patch=2"], [64, 256, 1024]),
        ("autoencoder_kl", ["encoder=autoencoder_kl", "encoder.patch=2", "encoder.resolution=144"], [81] * 3),
        (None, ["encoder=pixels", "encoder.patch=32"], [16, 64, 256]),
    ],
)
def test_encoders_without_weights_are_measured_from_the_runs_resolution_up(
    checkpoint: Callable[[str], Path], source: str | None, settings: list[str], tokens: list[int]
) -> None:
    own = [] if source is None else [f"encoder.pretrained={checkpoint(source)}"]
    arm, points = measured("source.resolution=128", "encoder.standardise=false", *settings, *own)
    assert [(point.resolution, point.tokens) for point in points] == list(zip((128, 256, 512), tokens, strict=True))
    with torch.inference_mode():
        for point in points[:2]:
            assert arm.encoder.encode(torch.zeros(1, 3, point.resolution, point.resolution)).shape[1] == point.tokens
