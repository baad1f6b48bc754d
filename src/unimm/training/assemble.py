"""Put an arm together from its configuration: foundation parts, fresh head and queries, objective, strategy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from unimm.backbones.causal_lm import CausalLM
from unimm.backbones.templates import generation_ids
from unimm.components import Decoder, Encoder, Head, Objective, Strategy
from unimm.data.examples import cached_latents
from unimm.data.latents import latents_of
from unimm.data.memory import at_once
from unimm.data.scenes import training_scenes
from unimm.data.source import Context, Source
from unimm.data.visits import Visits
from unimm.encoders.calibrated import CalibratedEncoder, calibrate
from unimm.evaluation.judging import check_readable
from unimm.foundation.build import obtain
from unimm.foundation.language import understanding_rows
from unimm.foundation.load import Foundation
from unimm.generation.pipeline import BATCH, Pipeline
from unimm.registry import Registry, backbones, encoders, heads, objectives, sources, strategies
from unimm.schema import RunConfig
from unimm.training.calibration import calibration_images
from unimm.training.device import pick_device
from unimm.training.questions import (
    DESCRIBED,
    SEED_OFFSET,
    Descriptions,
    Questions,
    SceneQuestions,
    SourceQuestions,
    wording,
)
from unimm.training.step_data import StepData


@dataclass
class Arm:
    """Everything that takes part in a run."""

    foundation: Foundation
    encoder: Encoder
    decoder: Decoder
    backbone: CausalLM
    head: Head
    objective: Objective
    strategy: Strategy

    def pipeline(self) -> Pipeline:
        """The sampler of this arm."""
        few = at_once(BATCH, self.foundation.resolution)
        return Pipeline(self.backbone, self.head, self.objective, self.decoder, self.encoder.latent_spec(), few)


def assemble(config: RunConfig) -> Arm:
    """Build the arm; the head's weights depend on the seed alone."""
    obtain(config.foundation)
    foundation = foundation_of(config)
    if foundation.resolution < foundation.trained_at:
        check_readable(foundation.world, foundation.resolution)
    encoder = build_encoder(config, foundation)
    decoder = encoder.decoder(foundation, config.sampling.decoder_steps)
    strategy: Strategy = _class(strategies, config.strategy.name)(config.strategy.config)
    backbone = build_backbone(config, foundation, encoder, strategy)
    spec = encoder.latent_spec()
    objective: Objective = _class(objectives, config.objective.name)(config.objective.config)
    if config.head.name == "linear" and not objective.deterministic:
        raise ValueError(f"head=linear sees neither noise nor time, so objective={config.objective.name} cannot use it")
    torch.manual_seed(config.seed)
    head: Head = _class(heads, config.head.name)(config.head.config, spec.channels, spec.grid, backbone.width)
    return Arm(foundation, encoder, decoder, backbone, head, objective, strategy)


def foundation_of(config: RunConfig) -> Foundation:
    """The run's foundation, for images of its source's side.

    Raises:
        ValueError: stages whose sources have different sides, although they share one head and its latents.
    """
    own, first = (
        getattr(source.config, "resolution", None)
        for source in (config.source, config.data.statistics_source or config.source)
    )
    if own != first:
        raise ValueError(
            f"source.resolution={own or 'null'}, but that of the first stage is {first or 'null'}: all stages of an "
            "arm have one resolution"
        )
    return Foundation(config.foundation, own)


def build_encoder(config: RunConfig, foundation: Foundation) -> Encoder:
    """The frozen encoder; one from elsewhere measures its latents' statistics on the run's images."""
    encoder: Encoder = _class(encoders, config.encoder.name).build(config.encoder.config, foundation)
    if isinstance(encoder, CalibratedEncoder) and encoder.needs_statistics:
        encoder.check_decodable()
        source = config.data.statistics_source or config.source
        images = calibration_images(open_source(config.model_copy(update={"source": source}), foundation), encoder)
        calibrate(encoder, images, pick_device(config.training.device))
    return encoder


def build_backbone(config: RunConfig, foundation: Foundation, encoder: Encoder, strategy: Strategy) -> CausalLM:
    """The backbone from which the strategy starts."""
    cls = _class(backbones, config.backbone.name)
    backbone: CausalLM = cls.build(config.backbone.config, foundation, encoder, strategy.start, config.seed)
    backbone.check(strategy.stages())
    return backbone


def _class(registry: Registry[Any], name: str) -> Any:
    """A component's class; constructors differ by kind, so they are checked when called, not by type."""
    return registry.get(name)


def open_source(config: RunConfig, foundation: Foundation) -> Source:
    """Where the run's images and captions come from; ValueError if its files are not as they should be."""
    context = Context(foundation.world, foundation.resolution, config.data.train_scenes)
    source: Source = _class(sources, config.source.name).build(config.source.config, context)
    return source


def step_data(config: RunConfig, arm: Arm, device: torch.device, source: Source | None = None) -> StepData:
    """Latents, prompts and, where the strategy needs them, questions."""
    source = source or open_source(config, arm.foundation)
    steps, tokenizer = config.training.steps, arm.backbone.tokenizer
    latents = latents_of(arm.encoder, source, steps * config.training.batch_size, device)
    total, seed = understanding_samples(arm), order_seed(config)
    return StepData(
        seed,
        config.training.batch_size,
        Visits(source, seed, latents),
        lambda caption: generation_ids(tokenizer, caption),
        config.data.long_caption_share,
        questions(config, arm, source, total, device) if total else None,
        [total * step // steps for step in range(steps + 1)],
    )


def order_seed(config: RunConfig) -> int:
    """What decides order, captions and noise of training; the seed of fresh weights is ``config.seed``."""
    return config.seed if config.data.seed is None else config.data.seed


def questions(config: RunConfig, arm: Arm, source: Source, total: int, device: torch.device) -> Questions:
    """What a joint run asks: about scenes, unless the source has questions; descriptions where it has captions."""
    eyes, seed = arm.backbone.image_encoder(arm.foundation, arm.encoder), order_seed(config)
    image_tokens = eyes.latent_spec().tokens
    row_of = wording(arm.backbone.tokenizer, seed, image_tokens)
    if source.understanding == "questions":
        return SourceQuestions(Visits(source, seed + SEED_OFFSET, latents_of(eyes, source, total, device)), row_of)
    world, resolution = arm.foundation.world, arm.foundation.resolution
    data = training_scenes(world, config.data.train_scenes, resolution)
    rows = understanding_rows(arm.backbone, data, image_tokens)
    about_scenes = SceneQuestions(seed, rows, cached_latents(eyes, data, device))
    if source.understanding == "scenes":
        return about_scenes
    described = latents_of(eyes, source, total // DESCRIBED, device)
    return Descriptions(about_scenes, Visits(source, seed + SEED_OFFSET, described), row_of)


def understanding_samples(arm: Arm) -> int:
    """How many understanding samples the run itself trains on."""
    stage = arm.strategy.stages()[0]
    if not stage.understanding_weight:
        return 0
    return stage.understanding_samples or int(arm.foundation.card["costs"]["understanding"]["samples"])


def weights_hash(module: nn.Module, names: set[str] | None = None) -> str:
    """sha256 over names and bytes of the parameters (all, or those named)."""
    digest = hashlib.sha256()
    for name, parameter in sorted(module.named_parameters()):
        if names is None or name in names:
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(parameter.detach().float().cpu().numpy()).tobytes())
    return digest.hexdigest()
