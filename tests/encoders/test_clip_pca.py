"""CLIP tokens along their directions of most variance: those of a singular value decomposition, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from unimm.data.scenes import Scenes, SceneSet
from unimm.encoders.calibrated import CalibrationImages, calibrate, uncalibrated
from unimm.encoders.clip import Clip
from unimm.encoders.clip_pca import ClipPca, PrincipalAxes, PrincipalDecoder
from unimm.foundation.folder import Foundation
from unimm.noise import NoiseSource
from unimm.registry import decoders

FOUNDATION, NOISE = Foundation("scenes-nano"), NoiseSource(0, "test")
SCENES = SceneSet(FOUNDATION.world, "train", 24, 64)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClipPca]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIMM_CACHE", str(tmp_path_factory.mktemp("cache")))
        found = calibrated(ClipPca.Config())
        again = calibrated(ClipPca.Config())  # read from the cache
        assert again.latent_spec() == found.latent_spec()
        yield found


def calibrated(config: ClipPca.Config) -> ClipPca:
    found = ClipPca.build(config, FOUNDATION)
    assert isinstance(found, ClipPca) and uncalibrated(found) == [found]
    calibrate(found, CalibrationImages(Scenes(SCENES)), torch.device("cpu"))
    return found


def test_directions_are_those_of_the_singular_value_decomposition() -> None:
    x = torch.randn(400, 12, generator=torch.Generator().manual_seed(0)) @ torch.randn(
        12, 12, generator=torch.Generator().manual_seed(1)
    )
    found = PrincipalAxes.of(lambda: x.split(90), 5)
    z = ((x - x.mean(0)) / x.std(0, correction=0)).double().numpy()
    _, values, rows = np.linalg.svd(z, full_matrices=False)
    variances = values**2 / len(z)
    scale = np.sqrt(5 / variances[:5].sum())
    np.testing.assert_allclose(np.abs(found.axes.numpy()), scale * np.abs(rows[:5].T), atol=1e-5)
    assert (found.axes.gather(0, found.axes.abs().argmax(0, keepdim=True)) > 0).all()
    latents = found.standardise(x)
    np.testing.assert_allclose(latents.square().mean(0).numpy(), scale**2 * variances[:5], rtol=1e-4)
    lost = (found.restore(latents) - x) / x.std(0, correction=0)
    assert lost.square().sum(1).mean().item() == pytest.approx(variances[5:].sum(), rel=1e-4)
    whole = PrincipalAxes.of(lambda: [x], 12)
    torch.testing.assert_close(whole.restore(whole.standardise(x)), x, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_tokens_have_the_vaes_channels_and_unit_variance(encoder: ClipPca) -> None:
    latents = encoder.encode(SCENES.images(slice(None)))
    assert latents.shape == (24, 16, 16) and encoder.latent_spec().channels == 16
    assert latents.mean().item() == pytest.approx(0, abs=1e-3) and latents.var().item() == pytest.approx(1, rel=1e-2)
    z = encoder.features(SCENES.images(slice(None))).flatten(0, 1).double()
    z = (z - z.mean(0)) / z.std(0, correction=0)
    largest = torch.linalg.svdvals(z)[:16].square()
    shares = latents.flatten(0, 1).double().square().sum(0)
    torch.testing.assert_close(shares / shares.sum(), largest / largest.sum(), atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_the_decoder_is_clips_own_after_the_way_back(encoder: ClipPca) -> None:
    images, keys = SCENES.images(slice(3)), ["a", "b", "c"]
    latents, decoder = encoder.encode(images), encoder.decoder(FOUNDATION, 2)
    raw = Clip.build(Clip.Config(standardise=False), FOUNDATION)
    assert isinstance(encoder.statistics, PrincipalAxes)
    drawn = decoder.decode(latents, NOISE, keys)
    torch.testing.assert_close(
        drawn, raw.decoder(FOUNDATION, 2).decode(encoder.statistics.restore(latents), NOISE, keys)
    )
    assert decoders.name_of(PrincipalDecoder) == "clip_pca"
    again = PrincipalDecoder.from_settings(decoder.settings())
    again.load_state_dict(decoder.state_dict())
    torch.testing.assert_close(again.decode(latents, NOISE, keys), drawn)


def test_more_channels_than_there_are_and_raw_tokens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"encoder.channels=200 is more than the 128 channels of CLIP's tokens"):
        ClipPca.build(ClipPca.Config(channels=200), FOUNDATION)
    with pytest.raises(ValueError, match="standardise"):
        ClipPca.Config(standardise=False)  # type: ignore[arg-type]
    assert ClipPca.build(ClipPca.Config(), FOUNDATION).latent_spec().channels == 16  # type: ignore[attr-defined]
