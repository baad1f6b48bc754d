"""Autoencoders of `diffusers` as targets: their latents are tokens, and they bring their own decoder.

Latents are what the library's own pipelines diffuse, shifted and scaled as these do (`unimm.encoders.autoencoder_cores`
says how each class of the library is called), folded ``patch`` x ``patch`` to tokens. ``standardise`` then divides out
what is left, channel by channel; without it the published scale stays. Their decoders are deterministic, as is the
trivial one of pixels, which stands here too.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

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
from unimm.encoders.autoencoder_cores import (
    CORES,
    Core,
    DCCore,
    Flux2Core,
    KLCore,
    QwenImageCore,
    RAECore,
    TinyCore,
    WanCore,
)
from unimm.encoders.calibrated import OutlinedEncoder, Statistics, blank, blank_on_meta
from unimm.encoders.images import check_drawn, check_side, resized
from unimm.encoders.tower import DTYPES
from unimm.encoders.vae import patchify, unpatchify
from unimm.foundation.folder import Foundation
from unimm.noise import NoiseSource

CONFIG = "config.json"
STEMS = ("diffusion_pytorch_model",)


class Autoencoder(OutlinedEncoder):
    """What all autoencoders share: loading, folding to tokens, and themselves as decoders."""

    core_class: ClassVar[type[Core]]

    class Config(ComponentConfig):
        """``pretrained``: local folder or hub name of the checkpoint; ``subfolder``: where in it the autoencoder lies.

        ``patch``: side of the latent patch of one token; ``resolution``: side at which images are encoded, null for
        that of the data; ``standardise``: unit variance in every channel; ``dtype``: type of weights and activations.
        """

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
    setting = "source.resolution" if config.resolution is None else "encoder.resolution"
    check_side(side, core.factor * config.patch, f"{config.pretrained} with patch={config.patch}", setting)
    outline = copy.deepcopy(core).to("meta")
    latents = outline.posterior(torch.empty(1, 3, side, side, device="meta", dtype=outline.model.dtype))
    _, channels, rows, columns = latents.shape
    assert rows == columns == side // core.factor, "latents of a square image form a square"
    return rows // config.patch, channels * config.patch**2


class AutoencoderKL(Autoencoder):
    """Latents of an AutoencoderKL (SD, SDXL, SD3, FLUX), scaled and shifted as its configuration says."""

    phrase = "latents of an AutoencoderKL"
    core_class = KLCore
    examples = (
        {"pretrained": "stabilityai/sd-vae-ft-ema"},
        {"pretrained": "stabilityai/sdxl-vae"},
        {"pretrained": "stabilityai/stable-diffusion-3-medium-diffusers", "subfolder": "vae", "patch": 2},
        {"pretrained": "black-forest-labs/FLUX.1-dev", "subfolder": "vae", "patch": 2},
    )


class AutoencoderDC(Autoencoder):
    """Latents of an AutoencoderDC (DC-AE, as SANA uses it): few tokens, to match a CLIP arm's count."""

    phrase = "latents of a deep compression autoencoder"
    core_class = DCCore
    examples = ({"pretrained": "mit-han-lab/dc-ae-f32c32-sana-1.1-diffusers"},)


class AutoencoderTiny(Autoencoder):
    """Latents of an AutoencoderTiny (TAESD): a VAE at CPU speed."""

    phrase = "latents of a tiny autoencoder"
    core_class = TinyCore
    examples = ({"pretrained": "madebyollin/taesd"},)


class AutoencoderRAE(Autoencoder):
    """Latents of an AutoencoderRAE: semantic features (DINOv2, SigLIP 2, MAE) with a pixel decoder of their own."""

    phrase = "latents of a representation autoencoder"
    core_class = RAECore
    examples = ({"pretrained": "nyu-visionx/RAE-dinov2-wReg-base-ViTXL-n08"},)

    class Config(ComponentConfig):
        """Grid and resolution are the checkpoint's own.

        ``pretrained``: local folder or hub name of the checkpoint; ``subfolder``: where in it the autoencoder lies.
        ``standardise``: unit variance in every channel; ``dtype``: type of weights and activations.
        """

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


class AutoencoderKLFlux2(Autoencoder):
    """Latents of an AutoencoderKLFlux2 (FLUX.2), normalised by the statistics that the checkpoint carries."""

    phrase = "latents of FLUX.2's autoencoder"
    core_class = Flux2Core
    examples = ({"pretrained": "black-forest-labs/FLUX.2-dev", "subfolder": "vae"},)


class AutoencoderKLQwenImage(Autoencoder):
    """Latents of an AutoencoderKLQwenImage (Qwen-Image), standardised a channel as its configuration says."""

    phrase = "latents of Qwen-Image's autoencoder"
    core_class = QwenImageCore
    examples = ({"pretrained": "Qwen/Qwen-Image", "subfolder": "vae", "patch": 2},)


class AutoencoderKLWan(Autoencoder):
    """Latents of an AutoencoderKLWan (Wan 2.1 and 2.2) of one frame, standardised a channel by its configuration."""

    phrase = "latents of Wan's autoencoder"
    core_class = WanCore
    examples = ({"pretrained": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "subfolder": "vae", "patch": 2},)


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
