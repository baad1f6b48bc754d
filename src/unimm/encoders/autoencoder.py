"""Autoencoders of `diffusers` as targets: their latents are tokens, and they bring their own decoder.

Latents are what the library's own pipelines diffuse: the posterior's mean (deterministic, as a latent cache needs it),
shifted and scaled by what ``config.json`` says (FLUX: ``(z - 0.1159) * 0.3611``), folded ``patch`` x ``patch`` to
tokens. ``standardise`` then divides out what is left, channel by channel; without it the published scale stays.

Four classes of the library are known: AutoencoderKL, AutoencoderDC, AutoencoderTiny and AutoencoderRAE. Their decoders
are deterministic, as is the trivial one of pixels, which stands here too.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from unimm.checkpoints import (
    check_complete,
    checkpoint_folder,
    config_folder,
    files_hash,
    read_config,
    reading,
    weight_files,
)
from unimm.component_config import ComponentConfig
from unimm.components import Decoder
from unimm.encoders.calibrated import OutlinedEncoder, Statistics, blank, blank_on_meta
from unimm.encoders.images import check_drawn, check_side, resized
from unimm.encoders.tower import DTYPES
from unimm.encoders.vae import patchify, unpatchify
from unimm.foundation.folder import Foundation
from unimm.noise import NoiseSource

CONFIG = "config.json"
STEMS = ("diffusion_pytorch_model",)


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
        decoded: Tensor = self.model.decode((latents / scale + shift).to(self.model.dtype)).sample
        return ((decoded.float() + 1) / 2).clamp(0, 1)

    def _scaling(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Shift and scale, per channel where the configuration says so, else the same for all."""
        config = self.model.config
        shift = config.get("latents_mean") or [config.get("shift_factor") or 0.0]
        deviation = config.get("latents_std") or [1.0]
        scale = config.get("scaling_factor") or 1.0
        values = (torch.tensor(part, device=device).view(1, -1, 1, 1) for part in (shift, deviation))
        mean, std = values
        return mean, scale / std


class Autoencoder(OutlinedEncoder):
    """What all autoencoders share: loading, folding to tokens, and themselves as decoders."""

    core_class: ClassVar[type[Core]]

    class Config(ComponentConfig):
        """``patch``: side of the latent patch of one token; ``resolution``: null for that of the data."""

        pretrained: str = Field(min_length=1)
        subfolder: str = ""
        patch: int = Field(1, ge=1)
        resolution: int | None = Field(None, ge=1)
        standardise: bool = True
        dtype: Literal["float32", "bfloat16"] = "float32"

    def __init__(self, config: Any, core: Core, side: int, fingerprint: str) -> None:
        grid, channels = _folded(core, side, config)
        super().__init__((grid, grid), channels, fingerprint)
        self.config, self.core, self.drawn = config, core, core.drawn(side)
        self.requires_grad_(False).eval()

    @classmethod
    def build(cls, config: Any, foundation: Foundation) -> Autoencoder:
        name = cls.core_class.library_class
        folder = checkpoint_folder(config.pretrained, config.subfolder)
        settings, library = cls._described(folder)
        files = weight_files(folder, STEMS)
        with reading(folder, name):
            model, report = library.from_pretrained(
                folder, torch_dtype=DTYPES[config.dtype], output_loading_info=True, low_cpu_mem_usage=False
            )
        check_complete(folder, name, report)
        own = config.model_dump(exclude={"pretrained", "subfolder", "standardise"}) | cls.core_class.preprocessing
        return cls(
            config,
            cls.core_class(model),
            cls.side(config, foundation.resolution, settings),
            files_hash(files, settings, own),
        )

    @classmethod
    def on_meta(cls, config: Any, resolution: int) -> Autoencoder:
        folder = config_folder(config.pretrained, config.subfolder)
        settings, library = cls._described(folder)
        with reading(folder, cls.core_class.library_class), torch.device("meta"):
            model = library.from_config(settings).to(DTYPES[config.dtype])
        encoder = cls(config, cls.core_class(model), cls.side(config, resolution, settings), "meta")
        blank_on_meta(encoder)
        return encoder

    @classmethod
    def side(cls, config: Any, resolution: int, settings: dict[str, Any]) -> int:
        """Side of the images that are encoded, in pixels."""
        return int(config.resolution or resolution)

    @classmethod
    def _described(cls, folder: Path) -> tuple[dict[str, Any], Any]:
        """``config.json`` and the library's class, which has to be this one."""
        import diffusers

        name = cls.core_class.library_class
        library = getattr(diffusers, name, None)
        if library is None:
            raise ValueError(f"the installed diffusers {diffusers.__version__} has no {name}; install a newer one")
        fix = f"give the folder of an {name} (in a whole pipeline it is a subfolder: encoder.subfolder=vae)"
        settings = read_config(folder, CONFIG, fix)
        found = settings.get("_class_name") or settings.get("model_type")
        if found != name:
            raise ValueError(f"{folder / CONFIG} describes {found}, not {name}: {fix}, or choose another encoder")
        return settings, library

    def features(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
        shown = resized(images, self.core.taken(self.config.resolution or images.shape[-1]))
        return patchify(self.core.encode(shown), self.config.patch)

    def decoder(self, foundation: Foundation, steps: int) -> Decoder:
        fix = "encoder.resolution=null" if self.config.resolution else f"source.resolution={self.drawn}"
        check_drawn(self.drawn, foundation.resolution, self.config.pretrained, fix)
        return AutoencoderDecoder(self.core, self.statistics, self.config.patch, foundation.resolution)


def _folded(core: Core, side: int, config: Any) -> tuple[int, int]:
    """Side of the token grid and channels of a token, from a pass without numbers."""
    import copy

    setting = "source.resolution" if config.resolution is None else "encoder.resolution"
    check_side(side, core.factor * config.patch, f"{config.pretrained} with patch={config.patch}", setting)
    outline = copy.deepcopy(core).to("meta")
    latents = outline.posterior(torch.empty(1, 3, side, side, device="meta", dtype=outline.model.dtype))
    _, channels, rows, columns = latents.shape
    assert rows == columns == side // core.factor, "latents of a square image form a square"
    return rows // config.patch, channels * config.patch**2


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
            """Images come to the model at its own side."""
            return None

    @classmethod
    def side(cls, config: Any, resolution: int, settings: dict[str, Any]) -> int:
        return int(settings.get("encoder_input_size", 224))


CORES: dict[str, type[Core]] = {core.library_class: core for core in (KLCore, DCCore, TinyCore, RAECore)}


class AutoencoderDecoder(Decoder):
    """Folded latents to images of side ``resolution``; ``statistics`` None when the latents were not standardised."""

    def __init__(self, core: Core, statistics: Statistics | None, patch: int, resolution: int) -> None:
        super().__init__()
        self.core, self.statistics, self.patch, self.resolution = core, statistics, patch, resolution
        self.requires_grad_(False).eval()

    def decode(
        self, latents: Float[Tensor, "b n d"], noise: NoiseSource, keys: Sequence[str]
    ) -> Float[Tensor, "b 3 s s"]:
        tokens = self.statistics.restore(latents) if self.statistics else latents
        return resized(self.core.decode(unpatchify(tokens, self.patch)), self.resolution)

    def settings(self) -> dict[str, Any]:
        return {
            "library_class": self.core.library_class,
            "config": json.loads(self.core.model.to_json_string()),
            "dtype": str(self.core.model.dtype).removeprefix("torch."),
            "channels": None if self.statistics is None else self.statistics.mean.numel(),
            "patch": self.patch,
            "resolution": self.resolution,
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> AutoencoderDecoder:
        import diffusers
        import torch

        core_class, channels = CORES[settings["library_class"]], settings["channels"]
        model = getattr(diffusers, core_class.library_class).from_config(settings["config"])
        core = core_class(model.to(getattr(torch, settings["dtype"])))
        statistics = None if channels is None else blank(channels)
        return cls(core, statistics, settings["patch"], settings["resolution"])


class PixelDecoder(Decoder):
    """Patches of pixels to images of side ``resolution``."""

    def __init__(self, patch: int, statistics: Statistics | None, resolution: int) -> None:
        super().__init__()
        self.patch, self.statistics, self.resolution = patch, statistics, resolution
        self.requires_grad_(False).eval()

    def decode(
        self, latents: Float[Tensor, "b n d"], noise: NoiseSource, keys: Sequence[str]
    ) -> Float[Tensor, "b 3 s s"]:
        tokens = self.statistics.restore(latents) if self.statistics else latents
        return resized(((unpatchify(tokens, self.patch) + 1) / 2).clamp(0, 1), self.resolution)

    def settings(self) -> dict[str, Any]:
        return {"patch": self.patch, "standardised": self.statistics is not None, "resolution": self.resolution}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> PixelDecoder:
        statistics = blank(3 * settings["patch"] ** 2) if settings["standardised"] else None
        return cls(settings["patch"], statistics, settings["resolution"])
