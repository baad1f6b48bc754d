"""Put an arm together from its configuration: foundation parts, fresh head and queries, objective, strategy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from unimm.backbones.causal_lm import CausalLM, standardise_conditions
from unimm.backbones.wording import generation_ids
from unimm.components import Backbone, Decoder, Encoder, Head, Mix, Objective, Strategy
from unimm.data.cache import at_once
from unimm.data.captions import choose
from unimm.data.source import Context, IndexedSource, Source
from unimm.devices import pick_device
from unimm.encoders.calibrated import calibrate, calibration_images, uncalibrated
from unimm.evaluation.metrics.geneval import check_readable
from unimm.foundation.folder import Foundation
from unimm.pipeline import BATCH, Pipeline
from unimm.pretraining.build import obtain
from unimm.registry import Registry, backbones, encoders, heads, objectives, sources, strategies
from unimm.schema import Choice, RunConfig
from unimm.seam_checks import check_backbone, check_start, checked_spec

PROMPTS = 256  # whose states are measured: a mean is then known to a sixteenth of its deviation


@dataclass
class Arm:
    """Everything that takes part in a run."""

    foundation: Foundation
    encoder: Encoder
    decoder: Decoder
    backbone: Backbone
    head: Head
    objective: Objective
    strategy: Strategy
    tower: Encoder | None = None

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
    if isinstance(backbone, CausalLM) and backbone.config.standardise:
        prompts = training_prompts(config, backbone, open_source(config, foundation))
        standardise_conditions(backbone.to(pick_device(config.training.device)), prompts)
        backbone.cpu()
    spec = checked_spec(encoder)
    objective: Objective = _class(objectives, config.objective.name)(config.objective.config)
    head_class = _class(heads, config.head.name)
    if not (head_class.sees_noise or objective.deterministic):
        names = f"head={config.head.name} sees neither noise nor time, so objective={config.objective.name}"
        raise ValueError(f"{names} cannot use it")
    torch.manual_seed(config.seed)
    channels = objective.head_channels(spec.channels)
    head: Head = head_class(config.head.config, channels, spec.grid, backbone.width)
    if objective.tower is None:
        return Arm(foundation, encoder, decoder, backbone, head, objective, strategy)
    tower = _built(config, objective.tower, foundation)
    objective.equip(head, spec, checked_spec(tower))
    return Arm(foundation, encoder, decoder, backbone, head, objective, strategy, tower)


def resampled(arm: Arm, config: RunConfig, settings: Mapping[str, Any]) -> Arm:
    """The arm with other settings of its objective, of those that sampling alone reads."""
    kind = _class(objectives, config.objective.name)
    own = config.objective.config.model_dump()
    return replace(arm, objective=kind(kind.Config.model_validate({**own, **settings})))


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
    return _built(config, config.encoder, foundation)


def _built(config: RunConfig, choice: Choice, foundation: Foundation) -> Encoder:
    encoder: Encoder = _class(encoders, choice.name).build(choice.config, foundation)
    if uncalibrated(encoder):
        if choice is config.encoder:
            encoder.check_decodable()
        source = config.data.statistics_source or config.source
        images = calibration_images(open_source(config.model_copy(update={"source": source}), foundation))
        calibrate(encoder, images, pick_device(config.training.device))
    return encoder


def build_backbone(config: RunConfig, foundation: Foundation, encoder: Encoder, strategy: Strategy) -> Backbone:
    """The backbone from which the strategy starts."""
    check_start(strategy)
    cls = _class(backbones, config.backbone.name)
    backbone: Backbone = cls.build(config.backbone.config, foundation, encoder, strategy.start, config.seed)
    check_backbone(backbone)
    mix = strategy.mix()
    backbone.check(mix)
    if mix.adapters is not None:
        backbone.adapt(mix.adapters, config.seed)
    return backbone


def training_prompts(config: RunConfig, backbone: Backbone, source: Source) -> list[list[int]]:
    """Requests to draw some of the source's samples, the first of seed 0's order: no run's own seed, so that the seeds
    of an arm whose backbone is frozen have one scale.

    Raises:
        ValueError: the source finds no sample by its number.
    """
    if not isinstance(source, IndexedSource):
        raise ValueError(
            f"backbone.standardise reads captions before training, which {source.name} does not allow: set "
            "backbone.standardise=false, or train from local files"
        )
    prompts = []
    for place, index in enumerate(source.order(0, 0, min(len(source), PROMPTS)).tolist()):
        caption = choose(source.texts(index), config.data.caption_kind(place % 10 / 10), 0, place)
        prompts.append(generation_ids(backbone.tokenizer, caption.text))
    return prompts


def _class(registry: Registry[Any], name: str) -> Any:
    """A component's class; constructors differ by kind, so they are checked when called, not by type."""
    return registry.get(name)


def open_source(config: RunConfig, foundation: Foundation) -> Source:
    """Where the run's images and captions come from; ValueError if its files are not as they should be."""
    context = Context(foundation.world, foundation.resolution, config.data.train_scenes)
    source: Source = _class(sources, config.source.name).build(config.source.config, context)
    return source


def understanding_samples(mix: Mix, foundation: Foundation) -> int:
    """How many understanding samples a run with this mix itself trains on."""
    if not mix.understanding_weight:
        return 0
    return mix.understanding_samples or int(foundation.card["costs"]["understanding"]["samples"])
