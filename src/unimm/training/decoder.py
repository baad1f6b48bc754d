"""Train a diffusion decoder for an arm's encoder: its tokens to latents of an autoencoder, by flow matching.

BLIP3-o's second stage is such a decoder for EVA-CLIP's tokens. Here any encoder gets one from any images: encoder,
foundation and images are an arm's; the recipe says which latents to make (by default the foundation's VAE's), with
which network, and how long to train. What comes out is a folder for ``encoder.decoder``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from unimm.components import Encoder
from unimm.data.latents import latents_of
from unimm.data.source import Source
from unimm.data.visits import Visits
from unimm.decoders.trained import CONFIG, STATISTICS, WEIGHTS, build_network
from unimm.encoders.calibrated import CalibratedEncoder, calibrate
from unimm.encoders.statistics import Statistics
from unimm.files import write_json
from unimm.foundation.load import Foundation
from unimm.foundation.loop import Cost, fit
from unimm.noise import NoiseSource
from unimm.objectives.flow_matching import FlowMatching
from unimm.registry import encoders
from unimm.schema import Choice, RunConfig
from unimm.training.assemble import foundation_of, open_source
from unimm.training.calibration import calibration_images
from unimm.training.decoder_recipe import DecoderRecipe
from unimm.training.device import pick_device


def train_decoder(config: RunConfig, recipe: DecoderRecipe, out: Path) -> Cost:
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
        keys = range(recipe.batch_size)
        return flow.loss(network, targets, conditions, NoiseSource(recipe.seed, "decoder", step), keys)

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
        calibrate(encoder, calibration_images(source, encoder), device)
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
    out: Path, settings: dict[str, Any], network: torch.nn.Module, cost: Cost, found: dict[str, Statistics | None]
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous().cpu() for name, value in network.state_dict().items()}, out / WEIGHTS)
    statistics = {
        f"{part}.{kind}": getattr(values, kind).cpu()
        for part, values in found.items()
        if values is not None
        for kind in ("mean", "std")
    }
    save_file(statistics, out / STATISTICS)
    write_json(out / "cost.json", cost._asdict())
    write_json(out / CONFIG, settings)
