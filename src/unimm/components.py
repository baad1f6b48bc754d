"""The seams: what an encoder, decoder, backbone, head, objective and strategy are, as abstract classes.

Each concrete class stands in its own file with its frozen ``Config``; `unimm.registry` finds it by name. Shapes: B
batch, N tokens of D channels (target latents), Q queries of H channels (conditions), C x S x S images.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from unimm.component_config import ComponentConfig
from unimm.noise import NoiseSource

if TYPE_CHECKING:
    from unimm.foundation.folder import Foundation


@dataclass(frozen=True)
class LatentSpec:
    """Shape and statistics of an encoder's latents; ``grid`` is (rows, columns) with rows * columns = tokens."""

    tokens: int
    channels: int
    grid: tuple[int, int]
    fingerprint: str


class Encoder(nn.Module, ABC):
    """Images to target latents, and what turns such latents back into images."""

    Config: ClassVar[type[ComponentConfig]]

    @classmethod
    @abstractmethod
    def build(cls, config: Any, foundation: Foundation) -> Encoder:
        """The frozen encoder; ``foundation`` offers the files of pretrained parts."""

    @abstractmethod
    def decoder(self, foundation: Foundation, steps: int) -> Decoder:
        """What decodes these latents; a diffusion decoder takes ``steps`` Euler steps, a deterministic one none."""

    @abstractmethod
    def encode(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
        """Latents of images in [0, 1]; standardised per channel where the configuration says so."""

    @abstractmethod
    def latent_spec(self) -> LatentSpec:
        """Shape and fingerprint of what `encode` returns."""


class Decoder(nn.Module, ABC):
    """Latents to images.

    A decoder whose arm should be exportable (`unimm export`) also defines `settings` and `from_settings`.
    """

    def settings(self) -> dict[str, Any]:
        """What `from_settings` needs to build the same decoder without its weights, as JSON; ValueError by default."""
        raise ValueError(
            f"{type(self).__name__} cannot be exported: give the class `settings` and `from_settings` "
            "(unimm.components.Decoder says what they do)"
        )

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Decoder:
        """The decoder that returned these `settings`, with fresh weights and buffers for ``load_state_dict``."""
        raise NotImplementedError(f"{cls.__name__} defines settings, so it has to define from_settings")

    @abstractmethod
    def decode(
        self, latents: Float[Tensor, "b n d"], noise: NoiseSource, keys: Sequence[str]
    ) -> Float[Tensor, "b 3 s s"]:
        """Images in [0, 1]; ``noise`` and ``keys`` decide what a stochastic decoder adds."""


class Head(nn.Module, ABC):
    """(noisy latents, t, conditions) to a prediction of the latents' shape.

    ``one_query_a_token``: it maps each query to one token, so that a longer target needs more queries.
    """

    Config: ClassVar[type[ComponentConfig]]
    one_query_a_token: ClassVar[bool] = False

    @abstractmethod
    def forward(
        self,
        noisy: Float[Tensor, "b n d"],
        time: Float[Tensor, " b"],
        conditions: Float[Tensor, "b q h"],
    ) -> Float[Tensor, "b n d"]:
        """The prediction; the regression arm calls it with zeros for both ``noisy`` and ``time``."""


class Objective(ABC):
    """A loss for the head, and the sampler that inverts it."""

    Config: ClassVar[type[ComponentConfig]]
    deterministic: ClassVar[bool]

    @abstractmethod
    def loss(
        self,
        head: Head,
        latents: Float[Tensor, "b n d"],
        conditions: Float[Tensor, "b q h"],
        noise: NoiseSource,
        keys: Sequence[str | int],
    ) -> Float[Tensor, ""]:
        """Mean loss over the batch, in float32."""

    @abstractmethod
    def sample(
        self,
        head: Head,
        conditions: Float[Tensor, "b q h"],
        shape: tuple[int, int],
        noise: NoiseSource,
        keys: Sequence[str | int],
    ) -> Float[Tensor, "b n d"]:
        """Sampled latents of ``shape`` (tokens, channels)."""


class Stage(NamedTuple):
    """One stretch of training: which parameters move, on which streams, with which loss weights.

    ``understanding_samples`` are spread evenly over its steps; None means as many as the foundation's understanding
    stage saw, so that strategies that understand before and those that understand meanwhile see equally many.
    """

    train_backbone: bool
    generation_weight: float
    understanding_weight: float
    understanding_samples: int | None = None


class Strategy(ABC):
    """Which parameters train, on which mix of streams; ``start`` names the foundation backbone to begin from."""

    Config: ClassVar[type[ComponentConfig]]

    @property
    @abstractmethod
    def start(self) -> str:
        """``language`` or ``understanding``."""

    @abstractmethod
    def stages(self) -> list[Stage]:
        """The stages in order."""


def parameter_count(module: nn.Module, trainable: bool | None = None) -> int:
    """Number of parameters; only those that do (or do not) require gradients when ``trainable`` is given."""
    return sum(p.numel() for p in module.parameters() if trainable is None or p.requires_grad == trainable)


def layer_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Entries of the outermost lists of layers, which hold nearly all weights of a large model."""
    for child in module.children():
        yield from child if isinstance(child, nn.ModuleList) else layer_blocks(child)


def weights_hash(module: nn.Module, names: set[str] | None = None) -> str:
    """sha256 over names and bytes of the parameters (all, or those named)."""
    digest = hashlib.sha256()
    for name, parameter in sorted(module.named_parameters()):
        if names is None or name in names:
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(parameter.detach().float().cpu().numpy()).tobytes())
    return digest.hexdigest()
