"""Components that break one promise each, as a plug-in might, for the tests of what then is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor, nn

from unimm.backbones.causal_lm import CausalLM
from unimm.component_config import ComponentConfig
from unimm.components import Backbone, Decoder, Encoder, Head, Hidden, Inputs, LatentSpec, Mix, Objective, Strategy
from unimm.encoders.vae import patchify, unpatchify
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.words import Words
from unimm.heads.dit import DiffusionTransformer
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


class Distracted(DiffusionTransformer):
    """Samples from other conditions than those that it was given."""

    def given(self, conditions: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        return super().given(conditions.flip(0))


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


class Dct(Grid):
    """The orthonormal cosine transform of each patch, raw: exact both ways, most channels tiny beside the first."""

    @staticmethod
    def matrix() -> Tensor:
        return torch.from_numpy(dct(np.eye(16), axis=0, norm="ortho")).float()

    def encode(self, images: Tensor) -> Tensor:
        patches = super().encode(images).unflatten(2, (3, 16, 16))
        return (self.matrix() @ patches @ self.matrix().T).flatten(2)

    def decoder(self, foundation: Any, steps: int) -> Decoder:
        return InverseDct()


class InverseDct(Decoder):
    """Images of `Dct`."""

    def decode(self, latents: Tensor, noise: NoiseSource, keys: Sequence[str]) -> Tensor:
        patches = Dct.matrix().T @ latents.unflatten(2, (3, 16, 16)) @ Dct.matrix()
        return unpatchify(patches.flatten(2), 16).add(1).div(2).clamp(0, 1)


class Forgetful(Grid):
    """Its decoder gives back nothing but the mean of every image."""

    def decoder(self, foundation: Any, steps: int) -> Decoder:
        return Blank()


class Blank(Decoder):
    """The mean colour of an image, everywhere."""

    def decode(self, latents: Tensor, noise: NoiseSource, keys: Sequence[str]) -> Tensor:
        images = unpatchify(latents, 16).add(1).div(2)
        return images.mean(dim=(2, 3), keepdim=True).expand_as(images)


class Moody(Grid):
    """Gives other latents every time."""

    def encode(self, images: Tensor) -> Tensor:
        latents = super().encode(images)
        return latents + 0.1 * torch.randn_like(latents)


class Sociable(Grid):
    """An image's latents depend on its neighbours in the batch, as a batch norm in training mode makes them."""

    def encode(self, images: Tensor) -> Tensor:
        latents = super().encode(images)
        return latents - latents.mean(dim=0)


class LossSum(FlowMatching):
    """A loss that grows with the batch."""

    def loss(self, head: Any, latents: Any, conditions: Any, noise: Any, keys: Any) -> Any:
        return super().loss(head, latents, conditions, noise, keys) * len(latents)


class Undetermined(FlowMatching):
    """Says that noise decides nothing."""

    deterministic = True


class NaughtyMetric(Metric):
    """Gives two scores of one name."""

    Config = Nothing
    needs = frozenset({"images"})

    def __init__(self, config: Any, foundation: Any) -> None: ...

    def score(self, evidence: Evidence) -> list[Score]:
        return [Score("same", 1.0, 1, {}), Score("same", 2.0, 1, {})]


class UpsideDown(Metric):
    """Brightness of rows' changes, where it says that fewer are better and gives no words for another score."""

    Config = Nothing
    needs = frozenset({"images"})
    words: ClassVar = {"edges": Words("Texture", "edges", better="lower")}

    def __init__(self, config: Any, foundation: Any) -> None: ...

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.images is not None
        edges = evidence.images.float().diff(dim=-1).abs().flatten(1).mean(dim=1).tolist()
        return [Score("edges", sum(edges) / len(edges), len(edges), {}, edges), Score("wordless", 0.5, 1, {})]
