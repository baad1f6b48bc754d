"""Components that break one promise each, as a plug-in might, for the tests of what then is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unimm.backbones.causal_lm import CausalLM
from unimm.component_config import ComponentConfig
from unimm.components import Backbone, Decoder, Encoder, Head, Hidden, Inputs, LatentSpec, Mix, Objective, Strategy
from unimm.encoders.vae import patchify, unpatchify
from unimm.noise import NoiseSource
from unimm.objectives.flow_matching import FlowMatching
from unimm.strategies.sequential import Sequential


class Nothing(ComponentConfig):
    """Nothing to set."""


class AnyModule(nn.Module):
    """A backbone as the registry used to accept it: any module."""

    Config = Nothing


class Headless(Backbone):
    """A backbone without the members that every run asks for."""

    Config = Nothing

    def language_model(self) -> Any:
        return self


class Wordless(Backbone):
    """A backbone that is built without a tokenizer and queries."""

    Config = Nothing
    width = 8

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config, self.image_channels = config, 3

    @classmethod
    def build(cls, config: Any, foundation: Any, encoder: Encoder, start: str, seed: int) -> Wordless:
        return cls(config)

    @classmethod
    def restore(cls, config: Any, model: Any, tokenizer: Any, image_channels: int) -> Wordless:
        return cls(config)

    def language_model(self) -> Any:
        return self

    def image_encoder(self, foundation: Any, encoder: Encoder) -> Encoder:
        return encoder

    def core_parameters(self) -> list[nn.Parameter]:
        return []

    def forward(self, inputs: Inputs, with_queries: bool, last: int = 0) -> Hidden:
        return Hidden(None, None)


class FixedQueries(CausalLM):
    """A good backbone, whose number of queries is no setting."""

    class Config(ComponentConfig):
        """Nothing to set."""

    @classmethod
    def build(cls, config: Any, foundation: Any, encoder: Encoder, start: str, seed: int) -> FixedQueries:
        built = super().build(CausalLM.Config(queries=5), foundation, encoder, start, seed)
        assert isinstance(built, FixedQueries)
        return built


class Scaled(Decoder):
    """Images between 0 and ``top``."""

    def __init__(self, top: float = 255.0, patch: int = 16) -> None:
        super().__init__()
        self.top, self.patch = top, patch

    def decode(self, latents: Tensor, noise: NoiseSource, keys: Sequence[str]) -> Tensor:
        return unpatchify(latents, self.patch).sigmoid() * self.top


class Spreading(Head):
    """Predicts one token, which a loss would compare with every token."""

    Config = Nothing

    def __init__(self, config: Any, channels: int, grid: tuple[int, int], width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, channels)

    def forward(self, noisy: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
        out: Tensor = self.out(conditions.mean(dim=1, keepdim=True))
        return out


class SamplesFlat(FlowMatching):
    """Samples latents without their channels."""

    def sample(self, *args: Any) -> Tensor:
        return super().sample(*args).mean(dim=2)


class StartsElsewhere(Sequential):
    """Starts from a stage that no foundation has."""

    @property
    def start(self) -> str:
        return "reasoning"


class Grid(Encoder):
    """Pixels in patches; ``latent_spec`` tells the truth."""

    Config = Nothing
    spec = LatentSpec(16, 768, (4, 4), "grid")

    @classmethod
    def build(cls, config: Any, foundation: Any) -> Grid:
        return cls()

    def decoder(self, foundation: Any, steps: int) -> Decoder:
        return Scaled()

    def encode(self, images: Tensor) -> Tensor:
        return patchify(images * 2 - 1, 16)

    def latent_spec(self) -> LatentSpec:
        return self.spec


class Mislabelled(Grid):
    """``latent_spec`` promises other channels than ``encode`` gives."""

    spec = LatentSpec(16, 99, (4, 4), "mislabelled")


class OffGrid(Grid):
    """A grid with another number of places than there are tokens."""

    spec = LatentSpec(16, 768, (4, 3), "off the grid")


class LossByItem(FlowMatching):
    """A loss for each sample instead of their mean."""

    def loss(self, head: Any, latents: Any, conditions: Any, noise: Any, keys: Any) -> Any:
        return super().loss(head, latents, conditions, noise, keys) * torch.ones(len(latents))


class Undecided(Objective):
    """Does not say whether it is deterministic."""

    Config = Nothing

    def loss(self, head: Any, latents: Any, conditions: Any, noise: Any, keys: Any) -> Any: ...

    def sample(self, head: Any, conditions: Any, shape: Any, noise: Any, keys: Any) -> Any: ...


class TwoStages(Strategy):
    """A strategy with two stages, of which the first alone was ever trained."""

    Config = Nothing
    start = "understanding"

    def stages(self) -> list[Mix]:
        return [Mix(False, 1.0, 0.0), Mix(True, 1.0, 1.0)]


class TwoStagesAfterAll(Sequential):
    """The same on top of a strategy that has a mix."""

    def stages(self) -> list[Mix]:
        return [Mix(False, 1.0, 0.0), Mix(True, 1.0, 1.0)]
