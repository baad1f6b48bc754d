"""An arm's parts without their weights: on the meta device, where a parameter has a shape and takes no memory.

The architectures of pretrained parts come from configuration files alone: a folder's, or those of well-known
checkpoints, which ship with unimm. The parts of the scenes' foundations are a few megabytes and are built as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from unimm.arm import foundation_of, understanding_samples
from unimm.backbones.wording import generation_ids
from unimm.components import Backbone, Encoder, Head, LatentSpec, Mix, Objective, Strategy
from unimm.encoders.calibrated import uncalibrated
from unimm.encoders.side_by_side import SideBySide
from unimm.foundation.folder import Foundation
from unimm.planning.devices import assumed_prompt
from unimm.registry import Registry, backbones, encoders, heads, objectives, strategies
from unimm.scenes.stream import scene_sample
from unimm.schema import Choice, RunConfig
from unimm.seam_checks import check_backbone

SCENES = 200


@dataclass(frozen=True)
class Outline:
    """What a plan needs to know of an arm.

    ``width`` is H of the conditions, ``resolution`` the data's side in pixels, ``prompt`` the tokens of an average
    prompt with its template, ``understanding_samples`` how many questions the whole run asks,
    ``queries`` how many query tokens follow a prompt, ``tower`` the encoder that the objective aligns with.
    """

    config: RunConfig
    encoder: Encoder
    language_model: nn.Module
    width: int
    head: Head
    objective: Objective
    mix: Mix
    resolution: int
    prompt: int
    understanding_samples: int
    queries: int
    tower: Encoder | None = None

    @cached_property
    def spec(self) -> LatentSpec:
        """Shape of the target latents."""
        return self.encoder.latent_spec()


def outline(config: RunConfig) -> Outline:
    """The arm's parts without weights.

    Raises:
        ValueError: a checkpoint's configuration cannot be found, or parts do not fit together.
    """
    foundation = foundation_of(config)
    encoder = outlined_encoder(config.encoder, foundation)
    strategy: Strategy = _class(strategies, config.strategy.name)(config.strategy.config)
    mix = strategy.mix()
    outlined = _on_meta(backbones, config.backbone)
    if outlined is None:
        build = _class(backbones, config.backbone.name).build
        backbone: Backbone = build(config.backbone.config, foundation, encoder, strategy.start, config.seed)
        check_backbone(backbone)
        model, width, prompt = backbone.language_model(), backbone.width, _scene_prompt(config, foundation)
        queries = len(backbone.queries)
    else:
        model, width, prompt = outlined.model, outlined.width, assumed_prompt(config)
        queries = _queries(config)
    objective: Objective = _class(objectives, config.objective.name)(config.objective.config)
    spec = encoder.latent_spec()
    tower = None if objective.tower is None else outlined_encoder(objective.tower, foundation)
    with torch.device("meta"):
        channels = objective.head_channels(spec.channels)
        head = _class(heads, config.head.name)(config.head.config, channels, spec.grid, width)
        if tower is not None:
            objective.equip(head, spec, tower.latent_spec())
    return Outline(
        config=config,
        encoder=encoder,
        language_model=model,
        width=width,
        head=head,
        objective=objective,
        mix=mix,
        resolution=foundation.resolution,
        prompt=prompt,
        understanding_samples=understanding_samples(mix, foundation),
        queries=queries,
        tower=tower,
    )


def outlined_encoder(choice: Choice, foundation: Foundation) -> Encoder:
    """The encoder without weights, or where its class cannot do without, with those that the foundation ships."""
    encoder_class = _class(encoders, choice.name)
    if issubclass(encoder_class, SideBySide):
        config: Any = choice.config
        return SideBySide(config, *(outlined_encoder(part, foundation) for part in config.parts))
    encoder: Encoder = _on_meta(encoders, choice, foundation.resolution)
    if encoder is None:
        encoder = encoder_class.build(choice.config, foundation)
        for part in uncalibrated(encoder):
            part.statistics = part.blank_statistics()
    return encoder


def _queries(config: RunConfig) -> int:
    """How many queries a backbone has that is not built; its Config has to say it."""
    settings = config.backbone.config.model_dump()
    if "queries" not in settings:
        raise ValueError(
            f"backbone={config.backbone.name} has on_meta, and its Config no `queries`: name the number of queries so, "
            "for a plan that builds no weights"
        )
    return int(settings["queries"])


def _scene_prompt(config: RunConfig, foundation: Foundation) -> int:
    """Tokens of an average prompt of the scenes, over the first of them."""
    scenes = [scene_sample(foundation.world, "train", 0, number) for number in range(SCENES)]
    long, placed, short = (
        sum(len(generation_ids(foundation.tokenizer, text)) for text in texts) / SCENES
        for texts in zip(*((scene.long, scene.placed, scene.short) for scene in scenes), strict=True)
    )
    data = config.data
    shares = data.long_caption_share, data.placed_caption_share, data.short_caption_share
    return round(sum(share * length for share, length in zip(shares, (long, placed, short), strict=True)))


def _class(registry: Registry[Any], name: str) -> Any:
    return registry.get(name)


def _on_meta(registry: Registry[Any], choice: Any, *arguments: Any) -> Any:
    """The component on the meta device, or None where its class cannot do without weights."""
    build = getattr(registry.get(choice.name), "on_meta", None)
    return None if build is None else build(choice.config, *arguments)
