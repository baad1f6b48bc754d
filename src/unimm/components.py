"""The seams: what an encoder, decoder, backbone, head, objective and strategy are, as abstract classes.

Each concrete class stands in its own file with its frozen ``Config``; `unimm.registry` finds it by name. Shapes: B
batch, N tokens of D channels (target latents), Q queries of H channels (conditions), C x S x S images.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
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
    """Images to target latents, and what turns such latents back into images.

    ``phrase``: its latents in words, as in "VAE latents are predicted with ..." (`unimm.arm_words`; not inherited);
    ``examples``: settings of well-known checkpoints whose configurations ship with unimm, for docs/targets.md.
    """

    Config: ClassVar[type[ComponentConfig]]
    phrase: ClassVar[str] = ""
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ()

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

    def check_decodable(self) -> None:
        """ValueError where nothing could decode these latents, before statistics are measured for them."""


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


class Inputs(NamedTuple):
    """A left-padded batch: token ids, their mask, and the image tokens that replace placeholders (or None).

    ``states``: keys and values of the ids in every layer, where the backbone remembers them (`Backbone.recall`).
    """

    ids: Int[Tensor, "b l"]
    mask: Bool[Tensor, "b l"]
    images: Float[Tensor, "b n d"] | None = None
    states: Float[Tensor, "layers 2 b heads l c"] | None = None

    def to(self, device: torch.device) -> Inputs:
        """The batch on a device."""
        return Inputs(*(None if x is None else x.to(device) for x in self))  # type: ignore[arg-type]


class Hidden(NamedTuple):
    """What a pass returns: query states (when queries were appended) or logits (when they were not)."""

    query_states: Float[Tensor, "b q h"] | None
    logits: Float[Tensor, "b l v"] | None


class Lora(ComponentConfig):
    """Low-rank adapters; ``targets``: all linear layers but the output layer, or names, as in [q_proj, v_proj].

    ``rank``: of the two factors of an adapter; ``alpha``: their product is scaled by alpha / rank.
    """

    rank: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0)
    targets: str | tuple[str, ...] = "all-linear"


class Mix(NamedTuple):
    """What a run trains on: which parameters move, on which streams, with which loss weights.

    ``understanding_samples`` are spread evenly over its steps; None means as many as the foundation's understanding
    stage saw, so that strategies that understand before and those that understand meanwhile see equally many. A
    ``text_share`` of them shows no image. With ``adapters`` the backbone trains through these alone. Without
    ``generation_gradient`` generation trains queries and head, and the backbone trains on understanding alone.
    """

    train_backbone: bool
    generation_weight: float
    understanding_weight: float
    understanding_samples: int | None = None
    text_share: float = 0.0
    adapters: Lora | None = None
    generation_gradient: bool = True


class Backbone(nn.Module, ABC):
    """A language model that sees images, with learnable queries after the prompt: prompts to conditions of the head.

    An instance has ``config``, ``tokenizer`` (which words prompts by `unimm.backbones.wording`), ``queries`` (a
    parameter [Q, H] of that name, which always trains) and ``image_channels`` (channels of the image tokens it reads).
    The language model is its attribute ``model``: an export saves that by itself, and all other weights beside it.

    ``of_foundation``: it starts from a stage of the foundation, whose understanding samples count as seen, and
    describes images by the foundation's grammar.
    """

    Config: ClassVar[type[ComponentConfig]]
    of_foundation: ClassVar[bool] = False
    config: Any
    tokenizer: Any
    queries: nn.Parameter
    image_channels: int

    @classmethod
    @abstractmethod
    def build(cls, config: Any, foundation: Foundation, encoder: Encoder, start: str, seed: int) -> Backbone:
        """The backbone from which a strategy starts (`Strategy.start`); fresh weights depend on ``seed`` alone."""

    @classmethod
    @abstractmethod
    def restore(cls, config: Any, model: Path, tokenizer: Path, image_channels: int) -> Backbone:
        """The backbone from folders that `language_model` and the tokenizer were saved to, but for what is fresh."""

    @abstractmethod
    def language_model(self) -> Any:
        """The model as `transformers` can save it and load it."""

    @abstractmethod
    def image_encoder(self, foundation: Foundation, encoder: Encoder) -> Encoder:
        """What turns images into the tokens through which this backbone sees them; ``encoder`` is the arm's."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Channels H of the conditions."""

    @abstractmethod
    def core_parameters(self) -> list[nn.Parameter]:
        """Everything that a strategy may train or freeze: not the queries."""

    @abstractmethod
    def forward(self, inputs: Inputs, with_queries: bool, last: int = 0) -> Hidden:
        """Query states with ``with_queries``, else next-token logits of the ``last`` positions, or of all for 0."""

    def set_trainable(self, core: bool) -> None:
        """Let the queries require gradients, and `core_parameters` where ``core`` says so."""
        for parameter in self.core_parameters():
            parameter.requires_grad_(core)
        self.queries.requires_grad_(True)

    def embed(self, inputs: Inputs) -> Float[Tensor, "b l h"]:
        """Embeddings of the ids, with image tokens at their placeholders; asked of backbones ``of_foundation`` only."""
        raise NotImplementedError(f"{type(self).__name__} is of_foundation, so it has to define embed")

    def remember(self, prompts: Sequence[list[int]], device: torch.device) -> None:
        """Keep what the frozen backbone computes of prompts that will come again and again; by default nothing."""

    def forget(self) -> None:
        """Let go of what `remember` kept."""

    def recall(self, prompts: Sequence[list[int]]) -> Tensor | None:
        """What `remember` kept of all these prompts, for `Inputs.states`; by default None."""
        return None

    def understands(self, start: str) -> bool:
        """Whether a backbone that starts at this stage can answer questions about images before any training."""
        return False

    def check(self, mix: Mix) -> None:
        """ValueError where a strategy's mix would ignore a setting of this backbone."""

    def adapt(self, adapters: Lora, seed: int) -> None:
        """Let low-rank adapters be all that a strategy trains of the language model; fresh ones depend on ``seed``."""
        raise ValueError(f"{type(self).__name__} takes no adapters: use strategy=joint, or define adapt")


class Head(nn.Module, ABC):
    """(noisy latents, t, conditions) to a prediction of the latents' shape.

    ``one_query_a_token``: it maps each query to one token, so that a longer target needs more queries.
    ``sees_noise``: it reads ``noisy`` and ``time``; one that does not serves deterministic objectives only.
    ``for_training``: what an objective trains with it and sampling does not need, so that no export has it.
    """

    Config: ClassVar[type[ComponentConfig]]
    one_query_a_token: ClassVar[bool] = False
    sees_noise: ClassVar[bool] = True
    for_training: nn.Module

    @abstractmethod
    def forward(
        self,
        noisy: Float[Tensor, "b n d"],
        time: Float[Tensor, " b"],
        conditions: Float[Tensor, "b q h"],
    ) -> Float[Tensor, "b n d"]:
        """The prediction; the regression arm calls it with zeros for both ``noisy`` and ``time``."""

    def given(self, conditions: Float[Tensor, "b q h"]) -> Callable[[Tensor, Tensor], Tensor]:
        """(noisy, time) to the prediction under these conditions, for a sampler that takes many steps with them.

        A head that computes something of the conditions alone overrides this to compute it once; the predictions are
        `forward`'s.
        """
        return lambda noisy, time: self(noisy, time, conditions)


class Objective(ABC):
    """A loss for the head, and the sampler that inverts it.

    ``phrase``: it in words, as in "... are predicted with flow matching" (`unimm.arm_words`; not inherited).
    """

    Config: ClassVar[type[ComponentConfig]]
    phrase: ClassVar[str] = ""
    deterministic: ClassVar[bool]

    def head_channels(self, channels: int) -> int:
        """Channels of what the head reads and predicts a token, for latents of so many: as many, or parameters of a
        distribution of them."""
        return channels

    @property
    def tower(self) -> Any:
        """The choice of a frozen encoder whose tokens of the same images training appends to the latents' channels, for
        `loss` to take off again; None for none."""
        return None

    def equip(self, head: Head, target: LatentSpec, tower: LatentSpec) -> None:
        """Give a fresh head, as its ``for_training``, what `loss` trains besides; asked where there is a `tower`."""
        raise NotImplementedError(f"{type(self).__name__} has a tower, so it has to define equip")

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

    def losses_at(
        self,
        head: Head,
        latents: Float[Tensor, "b n d"],
        conditions: Float[Tensor, "b q h"],
        noise: NoiseSource,
        keys: Sequence[str | int],
        time: Float[Tensor, " b"],
    ) -> Float[Tensor, " b"]:
        """Each sample's loss at its ``time`` with its condition kept, for the validation loss; optional, and asked only
        of the class whose `loss` it belongs to."""
        raise NotImplementedError(f"{type(self).__name__} has no losses_at")


class Strategy(ABC):
    """Which parameters train, on which mix of streams; ``start`` names the foundation backbone to begin from.

    ``phrase``: it in words, as in "... while the backbone stays frozen" (`unimm.arm_words`; not inherited).
    """

    Config: ClassVar[type[ComponentConfig]]
    phrase: ClassVar[str] = ""
    # Read by the registry: of a list of stages only the first was ever trained.
    REPLACED: ClassVar[dict[str, tuple[str, str]]] = {
        "stages": ("mix", "define mix(); a strategy that needs stretches says so with `stages:` in the arm's YAML")
    }

    @property
    @abstractmethod
    def start(self) -> str:
        """``language`` or ``understanding``."""

    @abstractmethod
    def mix(self) -> Mix:
        """What every step of the run trains on."""


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
