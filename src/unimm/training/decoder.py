"""Train a diffusion decoder for an arm's encoder: its tokens to latents of an autoencoder, by flow matching.

BLIP3-o's second stage is such a decoder for EVA-CLIP's tokens. Here any encoder gets one from any images: encoder,
foundation and images are an arm's; the recipe says which latents to make (by default the foundation's VAE's), with
which network, and how long to train. What comes out is a folder for ``encoder.decoder``.

How a diffusion decoder is trained, as the command line says it: ``decoder.steps=3000 decoder.network.name=unet``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, model_validator
from safetensors.torch import save_file
from torch import Tensor

from unimm.arm import foundation_of, open_source
from unimm.component_config import Strict
from unimm.components import Encoder
from unimm.data.latents import Visits, latents_of
from unimm.data.source import Source
from unimm.devices import pick_device
from unimm.encoders.calibrated import CalibratedEncoder, Statistics, calibrate, calibration_images
from unimm.encoders.token_decoder import CONFIG, STATISTICS, WEIGHTS, build_network, noised
from unimm.files import write_json, written
from unimm.foundation.folder import Foundation
from unimm.noise import NoiseSource
from unimm.objectives.flow_matching import FlowMatching
from unimm.pretraining.recipes import TrainingCost, fit
from unimm.registry import encoders
from unimm.schema import Choice, EncoderChoice, HeadChoice, RunConfig
from unimm.strict_yaml import ConfigError, setting

CHOICES = {"latents": {"name": "vae"}, "network": {"name": "dit"}}


class DecoderRecipe(Strict):
    """Which latents the decoder makes, with which network, and how long it trains.

    ``aligned``: the tokens also enter beside the noisy latents, laid over their grid; Emu2's UNet only attends to them.
    ``token_noise``: tau of `noised`, 0.8 in RAE (arXiv 2510.11690), whose decoders draw predicted tokens better for it.
    """

    latents: EncoderChoice = Field(default=CHOICES["latents"], validate_default=True)
    network: HeadChoice = Field(default=CHOICES["network"], validate_default=True)
    aligned: bool = True
    token_noise: float = Field(0.0, ge=0)
    condition_dropout: float = Field(0.0, ge=0, lt=1)
    guidance: float = Field(1.0, ge=1)
    steps: PositiveInt = 4500
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 1.5e-3
    seed: NonNegativeInt = 23

    @model_validator(mode="after")
    def _guidance_needs_dropout(self) -> DecoderRecipe:
        if self.guidance > 1 and self.condition_dropout == 0:
            raise ValueError("guidance above 1 steers away from no condition: set condition_dropout, such as 0.1")
        return self

    def flow(self) -> FlowMatching.Config:
        """Uniform times and no shift, as the foundation's decoder has them; who samples sets ``steps``."""
        dropout, guidance = self.condition_dropout, self.guidance
        return FlowMatching.Config(
            time_sampling="uniform", shift=1.0, condition_dropout=dropout, guidance=guidance, steps=1
        )


def read_recipe(overrides: Sequence[str]) -> DecoderRecipe:
    """The recipe with ``key=value`` overrides; `ConfigError` names the key that is wrong."""
    try:
        merged = OmegaConf.create(CHOICES)
        for key, value in map(setting, overrides):
            OmegaConf.update(merged, key, value, force_add=True)
        given = cast("dict[str, Any]", OmegaConf.to_container(merged, resolve=True))
    except (OmegaConfBaseException, ConfigError) as error:
        raise ConfigError(f"decoder: {error}") from error
    try:
        return DecoderRecipe.model_validate(given)
    except ValidationError as error:
        lines = [f"{'.'.join(('decoder', *map(str, problem['loc'])))}: {problem['msg']}" for problem in error.errors()]
        raise ConfigError("\n".join(lines)) from error


def train_decoder(config: RunConfig, recipe: DecoderRecipe, out: Path) -> TrainingCost:
    """Train a decoder for ``config.encoder`` and write it to ``out``; returns what it took.

    Raises:
        FileExistsError: ``out`` holds something.
        ValueError: the encoder decodes itself, or a checkpoint is not whole.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty: choose another --out")
    device = pick_device(config.training.device)
    foundation = foundation_of(config)
    if "decoder" not in type(config.encoder.config).model_fields:
        raise ValueError(f"encoder={config.encoder.name} has a decoder already, and takes no other")
    source = open_source(config, foundation)
    tokens, own = _standardised(config.encoder, foundation, source, device)
    latents, made = _standardised(recipe.latents, foundation, source, device)
    assert isinstance(tokens, CalibratedEncoder), "encoders with a decoder of their own choice have statistics"
    settings = _settings(config, recipe, tokens, latents, foundation.resolution)
    torch.manual_seed(recipe.seed)
    network = build_network(settings["network"]).to(device)
    flow = FlowMatching(recipe.flow())
    seen = recipe.steps * recipe.batch_size
    pairs = [Visits(source, recipe.seed, latents_of(part, source, seen, device)) for part in (tokens, latents)]

    def loss(step: int) -> Tensor:
        begin, end = step * recipe.batch_size, (step + 1) * recipe.batch_size
        ahead = [(end, end + recipe.batch_size)]
        conditions, targets = (part.finish(part.between(begin, end, ahead)).to(device) for part in pairs)
        noise = NoiseSource(recipe.seed, "decoder", step)
        conditions = noised(conditions, recipe.token_noise, noise.child("tokens"))
        return flow.loss(network, targets, conditions, noise, range(recipe.batch_size))

    warmup = min(100, recipe.steps)
    cost = fit("decoder", network, loss, recipe.batch_size, recipe.steps, recipe.learning_rate, warmup)
    _write(out, settings, network, cost, {"condition": own, "latents": made})
    return cost


def _standardised(
    choice: Choice, foundation: Foundation, source: Source, device: torch.device
) -> tuple[Encoder, Statistics | None]:
    """The chosen encoder, standardising by statistics of the source's images, which are returned too."""
    encoder_class: Any = encoders.get(choice.name)
    settings = {**choice.config.model_dump(), "standardise": True}
    encoder: Encoder = encoder_class.build(encoder_class.Config.model_validate(settings), foundation)
    if not isinstance(encoder, CalibratedEncoder):
        return encoder, None
    if encoder.needs_statistics:
        calibrate(encoder, calibration_images(source), device)
    return encoder, encoder.statistics


def _settings(
    config: RunConfig, recipe: DecoderRecipe, tokens: CalibratedEncoder, latents: Encoder, resolution: int
) -> dict[str, Any]:
    """``decoder.json``: all that loading needs, the side that it draws, and where the decoder comes from."""
    made = latents.latent_spec()
    return {
        "format": 1,
        "resolution": resolution,
        "condition": {"encoder": config.encoder.model_dump(mode="json"), "fingerprint": tokens.fingerprint},
        "latents": {**recipe.latents.model_dump(mode="json"), "standardise": True},
        "latents_fingerprint": made.fingerprint,
        "network": {
            "head": recipe.network.model_dump(mode="json"),
            "channels": made.channels,
            "grid": list(made.grid),
            "condition_channels": tokens.channels,
            "condition_grid": list(tokens.grid),
            "aligned": recipe.aligned,
        },
        "flow": recipe.flow().model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json"),
        "foundation": config.foundation,
    }


def _write(
    out: Path,
    settings: dict[str, Any],
    network: torch.nn.Module,
    cost: TrainingCost,
    found: dict[str, Statistics | None],
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    with written(out / WEIGHTS) as temporary:
        save_file(state, temporary)
    statistics = {
        f"{part}.{kind}": getattr(values, kind).cpu()
        for part, values in found.items()
        if values is not None
        for kind in ("mean", "std")
    }
    with written(out / STATISTICS) as temporary:
        save_file(statistics, temporary)
    write_json(out / "cost.json", cost._asdict())
    write_json(out / CONFIG, settings)
