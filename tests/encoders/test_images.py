"""Sides of images: what fits, what is nearest, and one resize."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from unimm.encoders.images import check_drawn, check_side, resized
from unimm.foundation.folder import Foundation
from unimm.noise import NoiseSource
from unimm.registry import encoders

Checkpoint = Callable[[str], Path]


@given(side=st.integers(1, 2048), unit=st.integers(1, 128))
def test_a_side_fits_or_its_nearest_neighbours_are_named(side: int, unit: int) -> None:
    if side % unit == 0:
        check_side(side, unit, "it", "source.resolution")
        return
    with pytest.raises(ValueError, match=r"source\.resolution=") as refusal:
        check_side(side, unit, "it", "source.resolution")
    named = [int(number) for number in re.findall(r"\d+", str(refusal.value).partition("source.resolution=")[2])]
    for value in named:
        check_side(value, unit, "it", "source.resolution")
        assert 0 < abs(value - side) < unit
    assert len(named) == (1 if side < unit else 2)


@pytest.mark.parametrize("side", [8, 16, 40])
def test_the_resize_is_antialiased_and_stays_in_range(side: int) -> None:
    images = (torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    found = resized(images, side)
    assert found.shape == (2, 3, side, side)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    expected = F.interpolate(images, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)
    assert torch.equal(found, images if side == 16 else expected)


def test_larger_pictures_are_shrunk_and_smaller_ones_refused() -> None:
    check_drawn(64, 64, "it", "fix")
    check_drawn(128, 64, "it", "fix")
    with pytest.raises(ValueError, match=r"^it draws 32 pixels a side, but the run's images have 64.*: the fix$"):
        check_drawn(32, 64, "it", "the fix")


@pytest.mark.parametrize(
    ("source", "name", "fix"),
    [
        ("autoencoder_kl", "autoencoder_kl", "encoder.resolution=null"),
        ("autoencoder_rae", "autoencoder_rae", "source.resolution=64"),
        ("", "pixels", "encoder.resolution=null"),
    ],
)
def test_pictures_are_shrunk_but_never_enlarged(checkpoint: Checkpoint, source: str, name: str, fix: str) -> None:
    """An encoder that works at a side of its own gives pictures of that side, whatever the run's images have."""
    own: dict[str, Any] = {"pretrained": str(checkpoint(source))} if source else {}
    own |= {} if name == "autoencoder_rae" else {"resolution": 48}
    cls: Any = encoders.get(name)
    encoder = cls.build(cls.Config(**own, standardise=False), Foundation("scenes-nano", 96))
    smaller = encoder.decoder(Foundation("scenes-nano", 32), 1)
    latents = encoder.encode(torch.rand(3, 3, 96, 96, generator=torch.Generator().manual_seed(1)))
    assert smaller.decode(latents, NoiseSource(0, "test"), ["0"]).shape == (3, 3, 32, 32)
    with pytest.raises(ValueError, match=rf"draws (48|64) pixels a side, but the run's images have 96.*: {fix}$"):
        encoder.decoder(Foundation("scenes-nano", 96), 1)
