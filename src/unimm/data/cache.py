"""Latents on disk: a frozen encoder computes them once, and they are kept under a hash of encoder, transform and data.

A file that does not match its stored hash is refused, never silently recomputed. With the latents stands what the files
held that they were made from (`unimm.data.content`): those of edited files are made anew. Images go through the network
so many pixels at a time, whatever their side (`at_once`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from unimm.components import Encoder, LatentSpec
from unimm.data.content import Content, check_still, joined, stamp_of, unchanged
from unimm.data.source import IndexedSource
from unimm.files import cache_folder, written
from unimm.progress import counting, say
from unimm.seam_checks import check_finite, check_latents

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


class KeptLatents(NamedTuple):
    """Latents of all images of a set, NaN for a missing one, and what the set's files held."""

    values: Float[Tensor, "m n d"]
    content: Content


def cached_latents(encoder: Encoder, data: ImageSet, device: torch.device) -> KeptLatents:
    """From the cache or, where there are none or the files hold something else by now, computed with a progress bar."""
    spec = encoder.latent_spec()
    settings = f"{type(encoder).__name__}/{spec}/{getattr(encoder, 'config', '')}/{data.name}"
    key = hashlib.sha256(settings.encode()).hexdigest()[:24]
    path = cache_folder() / f"latents-{key}.safetensors"
    if path.exists():
        kept = _read(path)
        content = unchanged(kept.content, data)
        if content is not None:
            if content != kept.content:
                _write(path, kept._replace(content=content))
            return kept._replace(content=content)
        say(f"files of {data.name} changed since their latents were cached: encoding them again")
    latents = compute_latents(encoder.to(device), data, device)
    _write(path, latents)
    return latents


def compute_latents(encoder: Encoder, data: ImageSet, device: torch.device) -> KeptLatents:
    """By an encoder that is on the device; ValueError for latents that are no numbers, and for files that are written
    meanwhile."""
    spec, stamp, size = encoder.latent_spec(), stamp_of(data), at_once(256, data.resolution)
    parts: list[Tensor] = []
    digests: list[bytes] = []
    with torch.inference_mode(), counting(len(data), "encoding images", "image") as bar:
        for images, hashes in _reads(data, size):
            keys = partial(_key, data, int(bar.n))
            parts.append(_encoded(encoder, spec, images.to(device), keys))
            digests += hashes
            bar.update(len(images))
    check_still(stamp, data, data.name)
    return KeptLatents(torch.cat(parts).contiguous(), Content(stamp, joined(digests) if stamp else ""))


def _reads(data: ImageSet, size: int) -> Iterator[tuple[Tensor, list[bytes]]]:
    """Images with hashes of what they were made of, where they are made of files."""
    if isinstance(data, IndexedSource) and data.stamp():
        return data.reads(size, range(len(data)))
    return ((images, []) for images in data.batches(size))


def _key(data: ImageSet, begin: int, number: int) -> str:
    """The name of image ``number`` of a batch that begins there."""
    index = begin + number
    return data.key(index) if isinstance(data, IndexedSource) else f"image {index} of {data.name}"


def _encoded(
    encoder: Encoder, spec: LatentSpec, images: Float[Tensor, "b 3 s s"], key: Callable[[int], str]
) -> Float[Tensor, "b n d"]:
    """Latents on the CPU. Missing images are encoded as black ones: an encoder need not know what NaN is."""
    missing = images.isnan().flatten(1).any(dim=1)
    latents: Tensor = encoder.encode(images.nan_to_num())
    check_latents(encoder, spec, latents, len(images))
    check_finite(encoder, latents, key)
    return latents.masked_fill(missing[:, None, None], torch.nan).cpu()


def _digest(latents: Tensor) -> Tensor:
    digest = hashlib.sha256(latents.numpy().tobytes()).digest()
    return torch.tensor(list(digest), dtype=torch.uint8)


def _write(path: Path, latents: KeptLatents) -> None:
    with written(path, shared=True) as temporary:
        save_file({"latents": latents.values, "digest": _digest(latents.values)}, temporary, latents.content._asdict())


def _read(path: Path) -> KeptLatents:
    try:
        values = load_file(path)
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"latent cache {path} is truncated ({error}); delete the file to have it recomputed"
        ) from error
    if not torch.equal(_digest(values["latents"]), values["digest"]):
        raise ValueError(f"latent cache {path} was altered (hash differs); delete the file to have it recomputed")
    return KeptLatents(values["latents"], Content(**facts))
