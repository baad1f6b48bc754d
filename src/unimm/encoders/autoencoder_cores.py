"""How each autoencoder class of `diffusers` is called: images in [0, 1] to latents on a grid, and back.

Latents are what the library's own pipelines diffuse: the posterior's mean (deterministic, as a latent cache needs it),
shifted and scaled. AutoencoderKL and AutoencoderDC have one shift and scale in ``config.json`` (FLUX:
``(z - 0.1159) * 0.3611``), Qwen-Image's and Wan's one a channel, and FLUX.2's comes from the running statistics of a
batch norm over 2 x 2 latents. All of that is applied by pipelines and not by ``encode``, so it is done here.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

FLUX2_FOLD = 2  # latents a side that FLUX.2 folds into channels before it normalises


class Core(nn.Module):
    """A `diffusers` autoencoder between images in [0, 1] and scaled latents ``[B, C, h, w]``, in float32 outside."""

    library_class: ClassVar[str]
    # What is done to images before they are encoded, where that is not all in the checkpoint's files.
    preprocessing: ClassVar[dict[str, str]] = {}

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    @property
    @abstractmethod
    def factor(self) -> int:
        """Pixels a side of one latent position."""

    def taken(self, side: int) -> int:
        """Side at which images of a side are encoded."""
        return side

    def drawn(self, side: int) -> int:
        """Side of what `decode` gives back of images of a side."""
        return side

    @abstractmethod
    def posterior(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c h w"]:
        """The library's own latents of images in [-1, 1], unscaled."""

    def encode(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c h w"]:
        """Scaled latents of images in [0, 1]."""
        latents = self.posterior((images * 2 - 1).to(self.model.dtype)).float()
        shift, scale = self._scaling(latents.device)
        return (latents - shift) * scale

    def decode(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 s s"]:
        """Images in [0, 1] of scaled latents."""
        shift, scale = self._scaling(latents.device)
        decoded = self.pictured((latents / scale + shift).to(self.model.dtype))
        return ((decoded.float() + 1) / 2).clamp(0, 1)

    def pictured(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 s s"]:
        """The library's own images, in [-1, 1], of unscaled latents."""
        return self.model.decode(latents).sample  # type: ignore[no-any-return]

    def _scaling(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Shift and scale, per channel where the configuration says so, else the same for all."""
        config = self.model.config
        shift = config.get("latents_mean") or [config.get("shift_factor") or 0.0]
        deviation = config.get("latents_std") or [1.0]
        scale = config.get("scaling_factor") or 1.0
        mean, std = (torch.tensor(part, device=device).view(1, -1, 1, 1) for part in (shift, deviation))
        return mean, scale / std


class KLCore(Core):
    """Gaussian posterior: its mean."""

    library_class = "AutoencoderKL"

    @property
    def factor(self) -> int:
        return int(2 ** (len(self.model.config.block_out_channels) - 1))

    def posterior(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c h w"]:
        return self.model.encode(images).latent_dist.mean  # type: ignore[no-any-return]


class DCCore(Core):
    """Deep-compression autoencoder: 32 times fewer pixels a side, so 64 tokens at 256 pixels."""

    library_class = "AutoencoderDC"

    @property
    def factor(self) -> int:
        return int(2 ** (len(self.model.config.encoder_block_out_channels) - 1))

    def posterior(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c h w"]:
        return self.model.encode(images).latent  # type: ignore[no-any-return]


class TinyCore(Core):
    """Tiny autoencoder: fast enough for a CPU."""

    library_class = "AutoencoderTiny"

    @property
    def factor(self) -> int:
        return int(2 ** (len(self.model.config.encoder_block_out_channels) - 1))

    def posterior(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c h w"]:
        return self.model.encode(images).latents  # type: ignore[no-any-return]


class RAECore(Core):
    """Representation autoencoder: a frozen vision tower with a trained decoder (arXiv 2510.11690).

    It normalises images in [0, 1] and its latents by itself, and decodes to [0, 1]. It would also resize images, but
    without antialiasing (its authors go from 256 to 224 pixels only): they come to it at its side.
    """

    library_class = "AutoencoderRAE"
    preprocessing: ClassVar[dict[str, str]] = {"resize": "bicubic, antialiased"}

    @property
    def factor(self) -> int:
        return int(self.model.config.encoder_patch_size)

    def taken(self, side: int) -> int:
        return int(self.model.encoder_input_size)

    def drawn(self, side: int) -> int:
        return int(self.model.decoder_image_size)

    def posterior(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c h w"]:
        return self.model.encode((images + 1) / 2).latent  # type: ignore[no-any-return]

    def decode(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 s s"]:
        decoded: Tensor = self.model.decode(latents.to(self.model.dtype)).sample
        return decoded.float().clamp(0, 1)

    def _scaling(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return torch.zeros((), device=device), torch.ones((), device=device)


class Flux2Core(Core):
    """FLUX.2: latents folded 2 x 2 into channels, each normalised by the running statistics of a batch norm."""

    library_class = "AutoencoderKLFlux2"

    @property
    def factor(self) -> int:
        return int(FLUX2_FOLD * 2 ** (len(self.model.config.block_out_channels) - 1))

    def posterior(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c h w"]:
        return F.pixel_unshuffle(self.model.encode(images).latent_dist.mean, FLUX2_FOLD)

    def pictured(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 s s"]:
        return super().pictured(F.pixel_shuffle(latents, FLUX2_FOLD))

    def _scaling(self, device: torch.device) -> tuple[Tensor, Tensor]:
        norm = self.model.bn
        mean, variance = (part.float().to(device).view(1, -1, 1, 1) for part in (norm.running_mean, norm.running_var))
        return mean, (variance + norm.eps).rsqrt()


class VideoCore(Core):
    """An autoencoder of videos: an image is a video of one frame."""

    @property
    def factor(self) -> int:
        return int(self.model.spatial_compression_ratio)

    def posterior(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c h w"]:
        return self.model.encode(images.unsqueeze(2)).latent_dist.mean.squeeze(2)  # type: ignore[no-any-return]

    def pictured(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 s s"]:
        return self.model.decode(latents.unsqueeze(2)).sample.squeeze(2)  # type: ignore[no-any-return]


class QwenImageCore(VideoCore):
    """Qwen-Image's."""

    library_class = "AutoencoderKLQwenImage"


class WanCore(VideoCore):
    """Wan's."""

    library_class = "AutoencoderKLWan"


CORES: dict[str, type[Core]] = {
    core.library_class: core for core in (KLCore, DCCore, TinyCore, RAECore, Flux2Core, QwenImageCore, WanCore)
}
