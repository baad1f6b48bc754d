"""Every pretrained encoder and backbone in an arm: two steps of training, then sampling; and whole runs to the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unimm.config import load
from unimm.noise import NoiseSource
from unimm.runs.record import Result
from unimm.schema import RunConfig

Checkpoint = Callable[[str], Path]
ROOT = Path(__file__).parents[2]
PROMPTS = ["a photo of a red circle", "a photo of two blue squares"]
TINY = [
    "profile=tiny",
    "training.samples=8",
    "training.batch_size=4",
    "training.warmup_steps=0",
    "data.train_scenes=16",
    "head.width=16",
    "head.layers=1",
    "head.heads=2",
]
SMALL_UNET = [
    "decoder.network.name=unet",
    "decoder.network.channels=[16,32]",
    "decoder.network.transformer_layers=[0,1]",
    "decoder.network.head_channels=16",
    "decoder.network.norm_groups=8",
    "decoder.aligned=false",
]
SMALL_DIT = ["decoder.network.width=16", "decoder.network.layers=1", "decoder.network.heads=2"]
NOISED = ["decoder.latents.name=pixels", "decoder.token_noise=0.8", *SMALL_DIT]
# What differs from another row in its checkpoint alone, which tests of encoders and backbones load.
REPEAT = pytest.mark.repeat
# checkpoint, encoder, settings, recipe of its decoder (None: it decodes itself)
ENCODERS = [
    ("open_clip", "open_clip", ["grid=4"], SMALL_DIT),
    pytest.param("open_clip_timm", "open_clip", ["grid=2"], SMALL_UNET, marks=REPEAT),
    ("clip_vision", "transformers_vision", ["grid=4"], ["decoder.latents.name=pixels", *SMALL_DIT]),
    ("siglip", "transformers_vision", ["grid=2", "standardise=false"], SMALL_UNET),
    pytest.param("siglip2_naflex", "transformers_vision", ["grid=4"], SMALL_DIT, marks=REPEAT),
    pytest.param("dinov2", "transformers_vision", ["grid=4"], SMALL_DIT, marks=REPEAT),
    pytest.param("dinov2_registers", "transformers_vision", ["grid=4"], SMALL_DIT, marks=REPEAT),
    ("dinov3", "transformers_vision", ["grid=4", "layers=2", "normed=true"], NOISED),
    ("perception_encoder", "timm_vision", ["grid=4"], NOISED),
    ("", "clip_layers", ["layers=2"], NOISED),
    ("autoencoder_kl", "autoencoder_kl", ["patch=2"], None),
    pytest.param("autoencoder_flux", "autoencoder_kl", ["patch=2", "standardise=false"], None, marks=REPEAT),
    ("autoencoder_dc", "autoencoder_dc", ["patch=4", "dtype=bfloat16"], None),
    ("autoencoder_tiny", "autoencoder_tiny", ["patch=2"], None),
    ("autoencoder_rae", "autoencoder_rae", [], None),
    ("autoencoder_flux2", "autoencoder_flux2", ["patch=2"], None),
    ("autoencoder_wan", "autoencoder_wan", ["patch=4"], None),
    ("", "pixels", ["patch=16"], None),
]
BACKBONES = [
    pytest.param("vae_fm", "llama", "pretrained_lm", [], marks=REPEAT),
    ("vae_fm_joint", "qwen3", "pretrained_lm", ["images=foundation"]),
    ("vae_fm_joint", "llama", "pretrained_lm", ["images=encoder"]),
    pytest.param("vae_fm", "qwen2_5_vl", "pretrained_vlm", [], marks=REPEAT),
    ("vae_fm_joint", "qwen2_5_vl", "pretrained_vlm", ["resolution=56"]),
    ("vae_fm_joint", "qwen3_vl", "pretrained_vlm", ["resolution=64"]),
    ("vae_fm_joint", "gemma3", "pretrained_vlm", ["resolution=32"]),
    ("vae_fm", "smolvlm", "pretrained_vlm", ["resolution=32"]),
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))


def arm_of(name: str, *overrides: str) -> RunConfig:
    return load(ROOT / "ablations" / f"{name}.yaml", [*TINY, *overrides])


def encoder_overrides(checkpoint: Checkpoint, source: str, name: str, settings: list[str]) -> list[str]:
    own = [f"encoder.pretrained={checkpoint(source)}"] if source else []
    return [f"encoder={name}", *own, *(f"encoder.{setting}" for setting in settings)]


def decoder_for(overrides: list[str], recipe: list[str], out: Path) -> list[str]:
    from unimm.training.decoder import read_recipe, train_decoder

    own = [text.removeprefix("decoder.") for text in recipe]
    train_decoder(arm_of("clip_fm", *overrides), read_recipe([*own, "steps=2", "batch_size=4"]), out)
    return [f"encoder.decoder={out}"]


def trained(config: RunConfig, out: Path) -> Any:
    """The arm after its two steps, through the functions that `unimm run` calls."""
    from unimm.arm import assemble, open_source
    from unimm.training.fit import train

    arm = assemble(config)
    out.mkdir(exist_ok=True)
    module, _ = train(config, arm, open_source(config, arm.foundation), out, torch.device("cpu"))
    assert all(torch.isfinite(torch.tensor(value)) for value in module.latest.values())
    return arm, module


def drawn(arm: Any) -> Any:
    return arm.pipeline()(PROMPTS, ["0", "1"], NoiseSource(0, "test"))


@pytest.mark.slow
@pytest.mark.parametrize(("source", "name", "settings", "recipe"), ENCODERS, ids=lambda part: str(part)[:24])
def test_every_encoder_trains_and_samples(
    checkpoint: Checkpoint, tmp_path: Path, source: str, name: str, settings: list[str], recipe: list[str] | None
) -> None:
    overrides = encoder_overrides(checkpoint, source, name, settings)
    if recipe is not None:
        overrides += decoder_for(overrides, recipe, tmp_path / "decoder")
    arm, module = trained(arm_of("clip_fm", *overrides), tmp_path / "run")
    images = drawn(arm)
    assert images.shape == (2, 3, 64, 64)
    assert images.dtype == torch.uint8
    assert set(module.latest) >= {"generation_loss", "loss"}


@pytest.mark.slow
def test_two_encoders_side_by_side_train_and_sample(tmp_path: Path) -> None:
    both = ["encoder=side_by_side", "encoder.first.name=clip", "encoder.second.name=vae", "encoder.decoded=second"]
    arm, _ = trained(arm_of("clip_fm", *both), tmp_path / "run")
    spec = arm.encoder.latent_spec()
    parts = [part.latent_spec() for part in (arm.encoder.first, arm.encoder.second)]
    assert (spec.tokens, spec.channels) == (parts[0].tokens, parts[0].channels + parts[1].channels)
    assert drawn(arm).shape == (2, 3, 64, 64)


@pytest.mark.slow
@pytest.mark.parametrize(("arm_name", "source", "name", "settings"), BACKBONES, ids=lambda part: str(part)[:24])
def test_every_backbone_trains_and_samples(
    checkpoint: Checkpoint, tmp_path: Path, arm_name: str, source: str, name: str, settings: list[str]
) -> None:
    from unimm.components import weights_hash
    from unimm.training.step_data import step_data

    joint = arm_name.endswith("_joint")
    overrides = [f"backbone={name}", f"backbone.pretrained={checkpoint(source)}", "backbone.queries=4"]
    overrides += [f"backbone.{setting}" for setting in settings]
    config = arm_of(arm_name, *overrides, *(["strategy.understanding_samples=8"] if joint else []))
    arm, module = trained(config, tmp_path / "run")
    assert ("understanding_loss" in module.latest) == joint
    before = weights_hash(drawn_from(config).backbone.model)
    assert (weights_hash(arm.backbone.model) != before) == joint
    assert drawn(arm).shape == (2, 3, 64, 64)
    rows, _, _ = step_data(config, arm, torch.device("cpu")).generation(0)
    words = arm.backbone.tokenizer.inner
    assert all("Please generate an image based on the following caption" in words.decode(row) for row in rows)


def drawn_from(config: RunConfig) -> Any:
    from unimm.arm import assemble

    return assemble(config)


@pytest.mark.slow
def test_a_whole_run_with_a_language_model_is_scored_exported_and_drawn_again(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    from unimm import UnimmPipeline
    from unimm.export.export import export_run
    from unimm.runs import job

    encoder = encoder_overrides(checkpoint, "autoencoder_kl", "autoencoder_kl", ["patch=2"])
    backbone = ["backbone=pretrained_lm", f"backbone.pretrained={checkpoint('llama')}", "backbone.queries=4"]
    fast = ["training.snapshots=1", "evaluation.questions=4", "evaluation.metrics=[geneval,understanding]"]
    result = job.run(arm_of("vae_fm", *encoder, *backbone, *fast), tmp_path / "run")
    checked = Result.model_validate(json.loads((tmp_path / "run" / "result.json").read_text()))
    assert checked.invariants.backbone_unchanged is True
    assert result.counts.understanding_samples == 0  # the foundation's stages taught another backbone
    export_run(tmp_path / "run", tmp_path / "model")
    image = UnimmPipeline.from_pretrained(tmp_path / "model")(PROMPTS[0], seed=0).images[0]
    assert image.size == (64, 64)


@pytest.mark.slow
def test_a_whole_joint_run_with_a_vision_language_model_and_a_trained_decoder(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    from unimm import UnimmPipeline
    from unimm.export.export import export_run
    from unimm.runs import job

    encoder = encoder_overrides(checkpoint, "siglip", "transformers_vision", ["grid=4"])
    encoder += decoder_for(encoder, SMALL_DIT, tmp_path / "decoder")
    backbone = ["backbone=pretrained_vlm", f"backbone.pretrained={checkpoint('qwen2_5_vl')}", "backbone.queries=4"]
    fast = ["strategy.understanding_samples=4", "training.snapshots=1", "evaluation.questions=4"]
    fast += ["evaluation.metrics=[geneval,understanding]", "backbone.resolution=56"]
    job.run(arm_of("clip_fm_joint", *encoder, *backbone, *fast), tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "model")
    exported = UnimmPipeline.from_pretrained(tmp_path / "model")
    first, second = (exported(PROMPTS[0], seed=3).images[0].tobytes() for _ in range(2))
    assert first == second


@pytest.mark.slow
def test_adapters_train_while_the_model_stays(checkpoint: Checkpoint, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    from safetensors.torch import load_file

    backbone = ["backbone=pretrained_lm", f"backbone.pretrained={checkpoint('qwen3')}", "backbone.queries=4"]
    backbone += ["backbone.lora.rank=2", "strategy.understanding_samples=8"]
    arm, _ = trained(arm_of("vae_fm_joint", *backbone), tmp_path / "run")
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    own = {name for name in weights if name.startswith("backbone.model.")}
    assert own
    assert all("lora_" in name for name in own)
    merged = arm.backbone.language_model()
    assert not any("lora_" in name for name, _ in merged.named_parameters())
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, arm.backbone.model(ids).logits, atol=1e-4, rtol=1e-4)


def test_a_decoder_for_other_tokens_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    from unimm.arm import assemble

    overrides = encoder_overrides(checkpoint, "siglip", "transformers_vision", ["grid=4"])
    own = decoder_for(overrides, ["decoder.latents.name=pixels", *SMALL_DIT], tmp_path / "decoder")
    with pytest.raises(ValueError, match=r"decoder.json: this decoder was trained on the tokens .*train one for it"):
        assemble(arm_of("clip_fm", *overrides, *own, "encoder.grid=2"))
    (tmp_path / "decoder" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"decoder/model.safetensors is missing"):
        assemble(arm_of("clip_fm", *overrides, *own))
    refusal = r"no folder .*nowhere, and no decoder of this foundation; give a folder that `unimm decoder train` wrote"
    with pytest.raises(ValueError, match=refusal):
        assemble(arm_of("clip_fm", *overrides, f"encoder.decoder={tmp_path / 'nowhere'}"))


def test_an_arm_without_a_decoder_is_refused_before_statistics_are_measured(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unimm import arm as module

    monkeypatch.setattr(module, "calibrate", lambda *_: pytest.fail("measured statistics first"))
    with pytest.raises(ValueError, match="has no way back to pixels: train a decoder"):
        module.assemble(arm_of("clip_fm", *encoder_overrides(checkpoint, "siglip", "transformers_vision", [])))


def test_adapters_of_a_frozen_backbone_are_refused(checkpoint: Checkpoint) -> None:
    pytest.importorskip("peft")
    from unimm.arm import assemble

    backbone = ["backbone=pretrained_lm", f"backbone.pretrained={checkpoint('llama')}", "backbone.lora.rank=2"]
    with pytest.raises(ValueError, match="the strategy freezes it"):
        assemble(arm_of("vae_fm", *backbone))
