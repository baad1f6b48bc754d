"""Latents on disk: a frozen encoder computes them once, and they are kept under a hash of encoder, transform and data.

A file that does not match its stored hash is refused, never silently recomputed. Images go through the network so many
pixels at a time, whatever their side (`at_once`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from unimm.components import Encoder, LatentSpec
from unimm.files import cache_folder
from unimm.seam_checks import check_latents

SIDE = 64


def at_once(count: int, side: int) -> int:
    """How many images of ``side`` pixels take no more memory than ``count`` of the scenes' 64; at least one.

    Results do not depend on it, but for rounding: noise belongs to samples, never to batches.
    """
    return max(1, count * SIDE**2 // max(side, SIDE) ** 2)


class ImageSet(Protocol):
    """A finite set of images under a name that identifies content and transform."""

    @property
    def name(self) -> str: ...

    @property
    def resolution(self) -> int: ...

    def __len__(self) -> int: ...

    def batches(self, size: int) -> Iterator[Tensor]:
        """All images in [0, 1], in order, ``size`` at a time; an image that is missing is NaN throughout."""


def cached_latents(encoder: Encoder, data: ImageSet, device: torch.device) -> Float[Tensor, "m n d"]:
    """Latents of every image of ``data``, from the cache or computed with a progress bar; NaN for a missing image."""
    spec = encoder.latent_spec()
    settings = f"{type(encoder).__name__}/{spec}/{getattr(encoder, 'config', '')}/{data.name}"
    key = hashlib.sha256(settings.encode()).hexdigest()[:24]
    path = cache_folder() / f"latents-{key}.safetensors"
    if path.exists():
        return _read(path)
    encoder, size = encoder.to(device), at_once(256, data.resolution)
    with torch.inference_mode():
        parts = [
            _encoded(encoder, spec, images.to(device))
            for images in tqdm(data.batches(size), total=-(-len(data) // size), desc="encoding images", unit="batch")
        ]
    latents = torch.cat(parts).contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    save_file({"latents": latents, "digest": _digest(latents)}, temporary)
    os.replace(temporary, path)
    return latents


def _encoded(encoder: Encoder, spec: LatentSpec, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
    """Latents on the CPU. Missing images are encoded as black ones: an encoder need not know what NaN is."""
    missing = images.isnan().flatten(1).any(dim=1)
    latents: Tensor = encoder.encode(images.nan_to_num())
    check_latents(encoder, spec, latents, len(images))
    return latents.masked_fill(missing[:, None, None], torch.nan).cpu()


def _digest(latents: Tensor) -> Tensor:
    digest = hashlib.sha256(latents.numpy().tobytes()).digest()
    return torch.tensor(list(digest), dtype=torch.uint8)


def _read(path: Path) -> Tensor:
    try:
        values = load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"latent cache {path} is truncated ({error}); delete the file to have it recomputed"
        ) from error
    if not torch.equal(_digest(values["latents"]), values["digest"]):
        raise ValueError(f"latent cache {path} was altered (hash differs); delete the file to have it recomputed")
    return values["latents"]
