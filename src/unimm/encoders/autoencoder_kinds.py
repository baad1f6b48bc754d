"""The autoencoders of `diffusers` by class: AutoencoderKL, AutoencoderDC, AutoencoderTiny, AutoencoderRAE."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.encoders.autoencoder import Autoencoder, Core


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

    It normalises images in [0, 1] and its latents by itself, and decodes to [0, 1].
    """

    library_class = "AutoencoderRAE"

    @property
    def factor(self) -> int:
        return int(self.model.config.encoder_patch_size)

    def drawn(self, side: int) -> int:
        return int(self.model.decoder_image_size)

    def posterior(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c h w"]:
        return self.model.encode((images + 1) / 2).latent  # type: ignore[no-any-return]

    def decode(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 s s"]:
        decoded: Tensor = self.model.decode(latents.to(self.model.dtype)).sample
        return decoded.float().clamp(0, 1)

    def _scaling(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return torch.zeros((), device=device), torch.ones((), device=device)


class AutoencoderKL(Autoencoder):
    """Latents of an AutoencoderKL (SD, SDXL, SD3, FLUX), scaled and shifted as its configuration says."""

    core_class = KLCore


class AutoencoderDC(Autoencoder):
    """Latents of an AutoencoderDC (DC-AE, as SANA uses it): few tokens, to match a CLIP arm's count."""

    core_class = DCCore


class AutoencoderTiny(Autoencoder):
    """Latents of an AutoencoderTiny (TAESD): a VAE at CPU speed."""

    core_class = TinyCore


class AutoencoderRAE(Autoencoder):
    """Latents of an AutoencoderRAE: semantic features (DINOv2, SigLIP 2, MAE) with a pixel decoder of their own."""

    core_class = RAECore

    class Config(ComponentConfig):
        """Grid and resolution are the checkpoint's own."""

        pretrained: str = Field(min_length=1)
        subfolder: str = ""
        standardise: bool = True
        dtype: Literal["float32", "bfloat16"] = "float32"

        @property
        def patch(self) -> int:
            """One latent position is one token."""
            return 1

        @property
        def resolution(self) -> None:
            """The model resizes by itself."""
            return None

    @classmethod
    def side(cls, config: Any, resolution: int, settings: dict[str, Any]) -> int:
        return int(settings.get("encoder_input_size", 224))


CORES: dict[str, type[Core]] = {core.library_class: core for core in (KLCore, DCCore, TinyCore, RAECore)}
