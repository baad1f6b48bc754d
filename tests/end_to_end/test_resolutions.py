"""Images of another side than the foundation's, from the source to the exported pipeline."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from unimm import UnimmPipeline
from unimm.arm import assemble, open_source
from unimm.config import load
from unimm.curation.pack import pack, scene_samples
from unimm.export.export import export_run
from unimm.export.sample import write_samples
from unimm.noise import NoiseSource
from unimm.runs import job, record
from unimm.runs.record import Result
from unimm.scenes.world import world
from unimm.schema import RunConfig
from unimm.training.decoder import read_recipe, train_decoder
from unimm.training.fit import train
from unimm.training.step_data import step_data

Checkpoint = Callable[[str], Path]
ROOT = Path(__file__).parents[2]
PROMPT = "a photo of a red circle"
CPU = torch.device("cpu")
TINY = [
    "profile=tiny",
    "training.samples=8",
    "training.batch_size=4",
    "training.warmup_steps=0",
    "training.snapshots=1",
    "data.train_scenes=16",
    "head.width=16",
    "head.layers=1",
    "head.heads=2",
]
SMALL_DIT = ["network.width=16", "network.layers=1", "network.heads=2", "steps=2", "batch_size=4"]


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))


def arm_of(name: str, *overrides: str) -> RunConfig:
    return load(ROOT / "ablations" / f"{name}.yaml", [*TINY, *overrides])


def caches(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "cache").glob("latents-*")}


def drawn(config: RunConfig, out: Path) -> Any:
    """Two steps of training through the functions that `unimm run` calls, then an image."""
    arm = assemble(config)
    out.mkdir()
    module, _ = train(config, arm, open_source(config, arm.foundation), out, CPU)
    assert all(torch.isfinite(torch.tensor(value)) for value in module.latest.values())
    return arm, arm.pipeline()([PROMPT], ["0"], NoiseSource(0, "test"))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("arm_name", "overrides", "tokens"),
    [
        ("vae_fm", [], 64),
        pytest.param("vae_mse", ["encoder=pixels", "encoder.patch=32"], 16, marks=pytest.mark.repeat),
    ],
)
def test_a_run_at_128_pixels_is_scored_exported_and_drawn_at_128(
    tmp_path: Path, arm_name: str, overrides: list[str], tokens: int
) -> None:
    config = arm_of(arm_name, *overrides, "source.resolution=128")
    job.run(config, tmp_path / "run")
    result = Result.model_validate(json.loads((tmp_path / "run" / "result.json").read_text()))
    assert result.resolution == 128
    assert [(point.resolution, point.tokens) for point in result.resolution_scaling][:2] == [
        (128, tokens),
        (256, 4 * tokens),
    ]
    assert result.ceilings["real"]["geneval/overall"] == 1.0
    protocols = {score.name: score.protocol for score in result.scores}
    for name in ("frechet_distance", "kernel_distance", "clip_score/a", "clip_score/b", "diversity/latents/vendi"):
        assert protocols[name]["resize"] == "bicubic, antialiased, to 64"
    assert "resize" not in protocols["geneval/overall"]
    run = record.read(tmp_path / "run")
    assert {Image.open(io.BytesIO(run.image(sample))).size for sample in run.samples} == {(128, 128)}
    sampled = Image.open(write_samples(tmp_path / "run", [PROMPT], [3], tmp_path / "drawn").files[0])
    export_run(tmp_path / "run", tmp_path / "model")
    exported = UnimmPipeline.from_pretrained(tmp_path / "model")(PROMPT, seed=3).images[0]
    assert exported.size == (128, 128)
    assert exported.tobytes() == sampled.tobytes()
    assert "| images | 128 pixels a side |" in (tmp_path / "model" / "README.md").read_text()


@pytest.mark.slow
def test_clip_tokens_are_decoded_at_128_pixels_once_a_decoder_was_trained_for_them(tmp_path: Path) -> None:
    large, folder = "source.resolution=128", tmp_path / "decoder"
    with pytest.raises(
        ValueError,
        match=r"scenes-nano draws 64 pixels a side, but the run's images have 128.*source.resolution=64.*decoder train",
    ):
        assemble(arm_of("clip_fm", large))
    train_decoder(arm_of("clip_fm", large), read_recipe(SMALL_DIT), folder)
    assert json.loads((folder / "decoder.json").read_text())["resolution"] == 128
    own = f"encoder.decoder={folder}"
    arm, image = drawn(arm_of("clip_fm", large, own), tmp_path / "run")
    assert arm.encoder.latent_spec().tokens == 16
    assert image.shape == (1, 3, 128, 128)
    _, smaller = drawn(arm_of("clip_fm", "source.resolution=96", own), tmp_path / "smaller")
    assert smaller.shape == (1, 3, 96, 96)
    with pytest.raises(ValueError, match=r"decoder draws 128 pixels a side, but the run's images have 160"):
        assemble(arm_of("clip_fm", "source.resolution=160", own))


@pytest.mark.slow
def test_a_decoder_from_before_there_were_resolutions_draws_its_foundations(tmp_path: Path) -> None:
    folder = tmp_path / "decoder"
    train_decoder(arm_of("clip_fm"), read_recipe(SMALL_DIT), folder)
    settings = json.loads((folder / "decoder.json").read_text())
    assert settings.pop("resolution") == 64
    (folder / "decoder.json").write_text(json.dumps(settings))
    own = f"encoder.decoder={folder}"
    arm = assemble(arm_of("clip_fm", own))
    assert arm.pipeline()([PROMPT], ["0"], NoiseSource(0, "test")).shape == (1, 3, 64, 64)
    with pytest.raises(ValueError, match=r"decoder draws 64 pixels a side, but the run's images have 128"):
        assemble(arm_of("clip_fm", own, "source.resolution=128"))
    with pytest.raises(ValueError, match="encoder=vae has a decoder already, and takes no other"):
        train_decoder(arm_of("vae_fm"), read_recipe(SMALL_DIT), tmp_path / "other")


def test_the_foundations_decoder_is_shrunk_for_smaller_images() -> None:
    arm = assemble(arm_of("clip_fm", "source.resolution=32"))
    assert arm.pipeline()([PROMPT], ["0"], NoiseSource(0, "test")).shape == (1, 3, 32, 32)
    with pytest.raises(ValueError, match=r"source.resolution=12 is too small for scores: the judge fails"):
        assemble(arm_of("clip_fm", "source.resolution=12"))


@pytest.mark.slow
@pytest.mark.parametrize("side", [96, pytest.param(128, marks=pytest.mark.repeat)])
def test_a_pretrained_autoencoder_works_at_the_sources_side(checkpoint: Checkpoint, tmp_path: Path, side: int) -> None:
    own = ["encoder=autoencoder_kl", f"encoder.pretrained={checkpoint('autoencoder_kl')}", "encoder.patch=2"]
    arm, image = drawn(arm_of("vae_fm", *own, f"source.resolution={side}"), tmp_path / "run")
    assert arm.head.grid == arm.encoder.latent_spec().grid == (side // 16, side // 16)
    assert image.shape == (1, 3, side, side)
    with pytest.raises(ValueError, match=r"multiple of 16 pixels, not 100: source.resolution=96 or 112"):
        assemble(arm_of("vae_fm", *own, "source.resolution=100"))


@pytest.mark.slow
def test_tars_of_128_pixels_are_trained_on_as_large_as_they_are(tmp_path: Path) -> None:
    pack(scene_samples(world("scenes-nano"), "train", 16, 128, "jpg"), tmp_path / "tars", 16, 16)
    source = ["source=shards", f"source.path={tmp_path / 'tars'}"]
    large = arm_of("vae_fm", *source, "source.resolution=128", "source.latents=encode")
    arm, image = drawn(large, tmp_path / "run")
    assert image.shape == (1, 3, 128, 128)
    opened = open_source(large, arm.foundation)
    visit = opened.visits(0, 0, 1, opened.image, None)[0]  # type: ignore[attr-defined]
    assert visit.value.shape == (3, 128, 128)
    assert step_data(large, arm, CPU).generation(0)[1].shape == (4, 64, 16)


def test_stages_have_one_resolution() -> None:
    own = ["source.resolution=96", "data.statistics_source.name=scenes"]
    with pytest.raises(ValueError, match=r"source.resolution=96, but that of the first stage is null: all stages"):
        assemble(arm_of("vae_fm", *own))
    assert assemble(arm_of("vae_fm", *own, "data.statistics_source.resolution=96")).foundation.resolution == 96


def test_latents_of_two_resolutions_never_mix(tmp_path: Path) -> None:
    """CLIP's tokens have the same shape at every side, so that nothing else would tell two caches apart."""
    found: dict[int, torch.Tensor] = {}
    for side in (64, 32, 64):
        config = arm_of("clip_mse", f"source.resolution={side}")
        latents = step_data(config, assemble(config), CPU).visits.latents.latents  # type: ignore[attr-defined]
        assert latents.shape == (16, 16, 128)
        assert side not in found or torch.equal(found[side], latents)
        found[side] = latents
    assert not torch.allclose(found[64], found[32], atol=1e-2)
    assert len(caches(tmp_path)) == 2


def test_the_foundations_own_side_is_the_default_and_named_as_before() -> None:
    given, default = (assemble(arm_of("vae_mse", *side)) for side in (["source.resolution=64"], []))
    assert given.encoder.latent_spec() == default.encoder.latent_spec()
    names = [open_source(arm_of("vae_mse", *side), default.foundation).name for side in (["source.resolution=64"], [])]
    assert names == ["scenes-nano/train/0/16@64/half0"] * 2
    other = assemble(arm_of("vae_mse", "source.resolution=96"))
    assert other.encoder.latent_spec().fingerprint != default.encoder.latent_spec().fingerprint
