"""Diffusion decoders: an encoder's tokens to an autoencoder's latents by flow matching, and those to pixels.

This is BLIP3-o's second stage in small: there an SDXL UNet, working on SDXL's VAE latents, is conditioned on 64 CLIP
tokens. A decoder is trained once with its encoder frozen, and shared by every arm of that encoder. The foundation ships
one for its CLIP (`DiffusionDecoder`); `unimm decoder train` writes a folder for other encoders (`TrainedDecoder`).

Such a folder was trained on standardised tokens of one encoder and draws images of one side. It names that encoder's
fingerprint and that side, and keeps the statistics of tokens and latents, so that arms with other statistics, or with
none, decode alike. A run whose images are smaller has the pictures shrunk; one with larger images is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from unimm.checkpoints import read_config, weight_files
from unimm.components import Decoder, Encoder, Head
from unimm.encoders.calibrated import CalibratedEncoder, Statistics, blank, shipped
from unimm.encoders.images import check_drawn, resized
from unimm.encoders.vae import VaeDecoder
from unimm.foundation.folder import Foundation
from unimm.heads.dit import DiffusionTransformer
from unimm.noise import NoiseSource
from unimm.objectives.flow_matching import FlowMatching
from unimm.registry import decoders, encoders, heads

CONFIG, WEIGHTS, STATISTICS = "decoder.json", "model.safetensors", "statistics.safetensors"
FIX = "give a folder that `unimm decoder train` wrote"


class Aligned(Head):
    """A head that also sees its conditions beside the noisy latents, laid over the same grid."""

    def __init__(self, head: Head, channels: int, grid: tuple[int, int], condition_grid: tuple[int, int]) -> None:
        super().__init__()
        self.head, self.channels, self.grid, self.condition_grid = head, channels, grid, condition_grid

    def forward(
        self, noisy: Float[Tensor, "b n d"], time: Float[Tensor, " b"], conditions: Float[Tensor, "b q h"]
    ) -> Float[Tensor, "b n d"]:
        whole: Tensor = self.head(torch.cat([noisy, self._laid(conditions, noisy)], dim=-1), time, conditions)
        return whole[..., : self.channels]

    def given(self, conditions: Float[Tensor, "b q h"]) -> Callable[[Tensor, Tensor], Tensor]:
        predict = self.head.given(conditions)

        def own(noisy: Tensor, time: Tensor) -> Tensor:
            return predict(torch.cat([noisy, self._laid(conditions, noisy)], dim=-1), time)[..., : self.channels]

        return own

    def _laid(self, conditions: Float[Tensor, "b q h"], noisy: Float[Tensor, "b n d"]) -> Float[Tensor, "b n h"]:
        laid = conditions.transpose(1, 2).unflatten(2, self.condition_grid)
        laid = F.interpolate(laid, size=self.grid, mode="nearest").flatten(2).transpose(1, 2)
        return laid.to(noisy.dtype)


def build_network(settings: dict[str, Any]) -> Head:
    """The decoder's network with fresh weights, from the ``network`` part of its settings."""
    choice = dict(settings["head"])
    head_class: Any = heads.get(choice.pop("name"))
    config = head_class.Config.model_validate(choice)
    grid, channels, width = tuple(settings["grid"]), settings["channels"], settings["condition_channels"]
    if not settings["aligned"]:
        network: Head = head_class(config, channels, grid, width)
        return network
    head = head_class(config, channels + width, grid, width)
    return Aligned(head, channels, grid, tuple(settings["condition_grid"]))


class TrainedDecoder(Decoder):
    """Tokens to latents by flow matching, then the latents' own decoder, then images of side ``resolution``.

    ``statistics`` standardises what comes in; ``resolution`` None leaves images as they are drawn.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        network: Head,
        statistics: Statistics,
        inner: Decoder,
        inner_name: str,
        resolution: int | None = None,
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.network, self.statistics, self.inner = network, statistics, inner
        self.flow = FlowMatching(FlowMatching.Config.model_validate(settings["flow"]))
        self._settings, self._inner_name = settings, inner_name
        self.requires_grad_(False).eval()

    def decode(
        self, latents: Float[Tensor, "b n d"], noise: NoiseSource, keys: Sequence[str]
    ) -> Float[Tensor, "b 3 s s"]:
        tokens = self.statistics.standardise(latents)
        part = self._settings["network"]
        shape = (part["grid"][0] * part["grid"][1], part["channels"])
        inner = self.flow.sample(self.network, tokens, shape, noise.child("decoder"), keys)
        images = self.inner.decode(inner, noise, keys)
        return images if self.resolution is None else resized(images, self.resolution)

    @classmethod
    def load(cls, folder: str, encoder: CalibratedEncoder, foundation: Foundation, steps: int) -> TrainedDecoder:
        """The decoder in ``folder`` for the tokens of ``encoder``, sampling in ``steps`` Euler steps.

        Raises:
            ValueError: the folder holds no whole decoder, or one for other tokens or smaller images.
        """
        path = Path(folder)
        settings = read_config(path, CONFIG, FIX) if path.is_dir() else _no_folder(path)
        expected = settings["condition"]["fingerprint"]
        if expected != encoder.fingerprint or settings["network"]["condition_grid"] != list(encoder.grid):
            raise ValueError(
                f"{path / CONFIG}: this decoder was trained on the tokens {expected}, the encoder makes "
                f"{encoder.fingerprint} (another checkpoint, grid, layer or resolution); train one for it with "
                "`unimm decoder train`"
            )
        weight_files(path, ("model",))
        weight_files(path, ("statistics",))
        network = build_network(settings["network"])
        _load(network, path / WEIGHTS)
        values = load_file(path / STATISTICS)
        # Decoders from before there were resolutions were trained at their foundation's.
        drawn = int(settings.get("resolution", foundation.trained_at))
        fix = f"source.resolution={drawn}, or train one for larger images with `unimm decoder train`"
        check_drawn(drawn, foundation.resolution, str(path), fix)
        within = foundation.at(drawn)
        inner = _latents_encoder(settings, values, within).decoder(within, steps)
        settings = {**settings, "flow": {**settings["flow"], "steps": steps}}
        own = Statistics(values["condition.mean"], values["condition.std"])
        name = decoders.name_of(type(inner))
        return cls(settings, network, _from_arm(own, encoder), inner, name, foundation.resolution)

    def settings(self) -> dict[str, Any]:
        inner = {"name": self._inner_name, "settings": self.inner.settings()}
        own = {name: self._settings[name] for name in ("network", "flow")}
        return {**own, "inner": inner, "resolution": self.resolution}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> TrainedDecoder:
        name = settings["inner"]["name"]
        inner = decoders.get(name).from_settings(settings["inner"]["settings"])
        statistics = blank(settings["network"]["condition_channels"])
        return cls(settings, build_network(settings["network"]), statistics, inner, name, settings.get("resolution"))


def _from_arm(own: Statistics, encoder: CalibratedEncoder) -> Statistics:
    """Statistics that turn the arm's tokens into the decoder's: both standardisations in one affine map."""
    if not encoder.config.standardise:
        return own
    assert encoder.statistics is not None, "calibrate the encoder first"
    mean, std = encoder.statistics.mean.cpu(), encoder.statistics.std.cpu()
    return Statistics((own.mean - mean) / std, own.std / std)


def _latents_encoder(settings: dict[str, Any], values: dict[str, Tensor], foundation: Foundation) -> Encoder:
    """The encoder whose latents the network makes, with the statistics of the decoder's training."""
    choice = dict(settings["latents"])
    encoder_class: Any = encoders.get(choice.pop("name"))
    encoder: Encoder = encoder_class.build(encoder_class.Config.model_validate(choice), foundation)
    if isinstance(encoder, CalibratedEncoder) and encoder.needs_statistics:
        encoder.statistics = Statistics(values["latents.mean"], values["latents.std"])
    found, expected = encoder.latent_spec().fingerprint, settings["latents_fingerprint"]
    if found != expected:
        raise ValueError(
            f"this decoder makes the latents {expected} of {settings['latents']}, which now gives {found}: bring back "
            "that checkpoint, or train the decoder again with `unimm decoder train`"
        )
    return encoder


def _load(network: Head, path: Path) -> None:
    try:
        network.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise ValueError(f"{path} does not hold the network of {CONFIG}: {error}; {FIX}") from error


def _no_folder(path: Path) -> dict[str, Any]:
    raise ValueError(f"no folder {path}, and no decoder of this foundation; {FIX}")


class DiffusionDecoder(Decoder):
    """Tokens to images of side ``resolution`` (None: as they are drawn).

    ``clip_statistics`` are given when the incoming tokens are raw: the head was trained on standardised ones.
    """

    def __init__(
        self,
        head: DiffusionTransformer,
        flow: FlowMatching,
        shape: tuple[int, int],
        vae: VaeDecoder,
        clip_statistics: Statistics | None,
        resolution: int | None = None,
    ) -> None:
        super().__init__()
        self.head = head
        self.flow = flow
        self.shape = shape
        self.vae = vae
        self.clip_statistics = clip_statistics
        self.resolution = resolution
        self.requires_grad_(False).eval()

    @classmethod
    def of(cls, foundation: Foundation, standardised: bool, steps: int, part: str = "decoder") -> DiffusionDecoder:
        """The foundation's of that name; ``standardised`` says what the incoming tokens are.

        Raises:
            ValueError: the run's images are larger than those that the decoder was trained to draw.
        """
        side = foundation.trained_at
        fix = f"source.resolution={side}, or train a decoder for larger images: `unimm decoder train`"
        check_drawn(side, foundation.resolution, f"the decoder of {foundation.folder.name}", fix)
        settings = foundation.settings(f"{part}/config.json")
        head = build_decoder_head(settings)
        head.load_state_dict(foundation.weights(f"{part}/model.safetensors"))
        shape = (settings["grid"] ** 2, settings["channels"])
        raw = None if standardised else shipped(foundation, "clip")
        vae = VaeDecoder.of(foundation, shipped(foundation, "vae"))
        return cls(head, decoder_flow(steps), shape, vae, raw, foundation.resolution)

    def decode(
        self, latents: Float[Tensor, "b n d"], noise: NoiseSource, keys: Sequence[str]
    ) -> Float[Tensor, "b 3 s s"]:
        tokens = self.clip_statistics.standardise(latents) if self.clip_statistics else latents
        inner = self.flow.sample(self.head, tokens, self.shape, noise.child("decoder"), keys)
        images = self.vae.decode(inner, noise, keys)
        return images if self.resolution is None else resized(images, self.resolution)

    def settings(self) -> dict[str, Any]:
        head = self.head
        return {
            "head": head.config.model_dump(),
            "channels": head.channels,
            "grid": list(head.grid),
            "condition_channels": head.condition_channels,
            "flow": self.flow.config.model_dump(),
            "vae": self.vae.settings(),
            "takes_raw_tokens": self.clip_statistics is not None,
            "resolution": self.resolution,
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> DiffusionDecoder:
        width, grid = settings["condition_channels"], tuple(settings["grid"])
        config = DiffusionTransformer.Config(**settings["head"])
        head = DiffusionTransformer(config, settings["channels"], grid, width, aligned_channels=width)
        flow = FlowMatching(FlowMatching.Config(**settings["flow"]))
        shape = (head.grid[0] * head.grid[1], head.channels)
        raw = blank(width) if settings["takes_raw_tokens"] else None
        # Models that were exported before there were resolutions name none.
        return cls(head, flow, shape, VaeDecoder.from_settings(settings["vae"]), raw, settings.get("resolution"))


def build_decoder_head(settings: dict[str, Any]) -> DiffusionTransformer:
    """The diffusion decoder's network from its ``config.json``."""
    return DiffusionTransformer(
        DiffusionTransformer.Config(**settings["head"]),
        settings["channels"],
        (settings["grid"], settings["grid"]),
        settings["condition_channels"],
        aligned_channels=settings["condition_channels"],
    )


def decoder_flow(steps: int) -> FlowMatching:
    """The decoder's objective: uniform times, no shift, no guidance; Euler with ``steps`` steps."""
    config = FlowMatching.Config(time_sampling="uniform", shift=1.0, condition_dropout=0.0, guidance=1.0, steps=steps)
    return FlowMatching(config)


def noised(tokens: Float[Tensor, "b n d"], tau: float, noise: NoiseSource) -> Float[Tensor, "b n d"]:
    """Standardised tokens with noise of a strength that differs by image: ``x + s eps``, s uniform in [0, tau]."""
    if tau == 0:
        return tokens
    keys = range(len(tokens))
    strength = tau * noise.child("strength").uniform(keys)[:, None, None]
    return tokens + (strength * noise.normal(keys, tuple(tokens.shape[1:]))).to(tokens)
