"""Put an arm together from its configuration: foundation parts, fresh head and queries, objective, strategy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unimm.backbones.causal_lm import CausalLM
from unimm.backbones.templates import generation_ids
from unimm.components import Decoder, Encoder, Head, Objective, Strategy
from unimm.data.examples import cached_latents
from unimm.data.scenes import SceneSet
from unimm.encoders.clip import Clip
from unimm.foundation.build import obtain
from unimm.foundation.language import understanding_rows
from unimm.foundation.load import Foundation
from unimm.generation.pipeline import Pipeline
from unimm.registry import Registry, encoders, heads, objectives, strategies
from unimm.schema import RunConfig
from unimm.training.module import StepData


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
        return Pipeline(self.backbone, self.head, self.objective, self.decoder, self.encoder.latent_spec())


def assemble(config: RunConfig) -> Arm:
    """Build the arm; the head's weights depend on the seed alone."""
    obtain(config.foundation)
    foundation = Foundation(config.foundation)
    encoder: Encoder = _class(encoders, config.encoder.name).build(config.encoder.config, foundation)
    decoder = encoder.decoder(foundation, config.sampling.decoder_steps)
    strategy: Strategy = _class(strategies, config.strategy.name)(config.strategy.config)
    backbone = foundation.backbone(config.backbone.config, strategy.start, config.seed)  # type: ignore[arg-type]
    spec = encoder.latent_spec()
    objective: Objective = _class(objectives, config.objective.name)(config.objective.config)
    if config.head.name == "linear" and not objective.deterministic:
        raise ValueError(f"head=linear sees neither noise nor time, so objective={config.objective.name} cannot use it")
    torch.manual_seed(config.seed)
    head: Head = _class(heads, config.head.name)(config.head.config, spec.channels, spec.grid, backbone.width)
    return Arm(foundation, encoder, decoder, backbone, head, objective, strategy)


def _class(registry: Registry[Any], name: str) -> Any:
    """A component's class; constructors differ by kind, so they are checked when called, not by type."""
    return registry.get(name)


def training_scenes(config: RunConfig, foundation: Foundation) -> SceneSet:
    """The run's training scenes: the first ones of the stream's first half, which the foundation saw too."""
    return SceneSet(foundation.world, "train", config.data.train_scenes, foundation.resolution, half=0)


def image_tokens(foundation: Foundation, data: SceneSet, device: torch.device) -> Tensor:
    """The CLIP tokens through which the backbone sees images, whatever the arm's target is."""
    clip = foundation.clip(Clip.Config(grid=foundation.card["grid"]))
    return cached_latents(clip, data, device)


def step_data(config: RunConfig, arm: Arm, device: torch.device) -> StepData:
    """Latents, prompts and, where the strategy needs them, questions."""
    data = training_scenes(config, arm.foundation)
    latents = cached_latents(arm.encoder, data, device)
    tokenizer = arm.backbone.tokenizer
    prompts = {
        "short": [generation_ids(tokenizer, s.short) for s in data.samples],
        "long": [generation_ids(tokenizer, s.long) for s in data.samples],
    }
    total = understanding_samples(arm)
    tokens = image_tokens(arm.foundation, data, device) if total else None
    questions = understanding_rows(arm.backbone, data, tokens.shape[1]) if tokens is not None else []
    return StepData(
        config.seed,
        config.training.batch_size,
        latents,
        prompts,
        config.data.long_caption_share,
        questions,
        tokens,
        [total * step // config.training.steps for step in range(config.training.steps + 1)],
    )


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
