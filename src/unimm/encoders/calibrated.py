"""Encoders that are calibrated on the images of the run: exact statistics of their raw features, measured once.

A foundation ships the statistics of its own encoders for images of the side that they were trained on; other sides and
checkpoints from elsewhere have none. `calibrate` measures mean and standard deviation of every channel, in two passes
in float64, and keeps them in the cache under the fingerprint of weights, preprocessing and data, which names its
resolution. Measured statistics belong to the fingerprint of the latents: other statistics, other latents.

They are measured on all of the run's images, or of a larger source on the first ``CALIBRATION_IMAGES`` in the order of
seed 0, in which the parts of a mixture have their shares. These do not depend on the run's seed: seeds of one arm train
on the same latents.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from unimm.component_config import ComponentConfig
from unimm.components import Encoder, LatentSpec
from unimm.data.cache import at_once
from unimm.data.content import Content, OfFiles, check_still, stamp_of, unchanged
from unimm.data.source import IndexedSource, Source
from unimm.files import cache_folder, written
from unimm.foundation.folder import Foundation
from unimm.seam_checks import check_finite

BATCH = 64
CALIBRATION_IMAGES = 20_000


class Statistics(nn.Module):
    """Per-channel ``mean`` and ``std`` as buffers; latents are ``[..., channels]``.

    Where every token has its own, both are ``[tokens, channels]``.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Float[Tensor, "*n d"], std: Float[Tensor, "*n d"]) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("std", std.float())

    def standardise(self, latents: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Zero mean and unit variance in every channel."""
        return (latents - self.mean) / self.std

    def restore(self, latents: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """The inverse of `standardise`."""
        return latents * self.std + self.mean


def shipped(foundation: Foundation, part: str) -> Statistics:
    """Statistics of the latents of ``clip`` or ``vae``, which their foundation ships."""
    values = foundation.weights(f"{part}/statistics.safetensors")
    return Statistics(values["mean"], values["std"])


def blank(channels: int) -> Statistics:
    """Statistics that change nothing, for ``load_state_dict`` to fill."""
    return Statistics(torch.zeros(channels), torch.ones(channels))


def measure(batches: Callable[[], Iterable[Tensor]]) -> Statistics:
    """Two passes over ``batches()`` (each ``[..., channels]``): the mean first, then squared distances to it."""
    count, total = 0, torch.zeros(())
    for batch in batches():
        flat = batch.reshape(-1, batch.shape[-1]).double()
        count, total = count + len(flat), total + flat.sum(0)
    mean, squares = total / count, torch.zeros(())
    for batch in batches():
        squares = squares + (batch.reshape(-1, batch.shape[-1]).double() - mean).square().sum(0)
    return Statistics(mean, (squares / count).sqrt())


@runtime_checkable
class Images(Protocol):
    """Training images in order, in [0, 1], their side in pixels, and a name that says which ones."""

    name: str
    resolution: int

    def batches(self, size: int) -> Iterable[Tensor]:
        """All images, ``size`` at a time; one that cannot be used is NaN throughout."""

    def key(self, number: int) -> str:
        """The name of an image by its place."""


class CalibratedEncoder(Encoder):
    """``encode`` is `features`, standardised where the configuration says so.

    By ``shipped`` statistics, which the fingerprint of the weights covers, or by some that `calibrate` measures.
    """

    Config: ClassVar[type[ComponentConfig]]
    kind: ClassVar[type[Statistics]] = Statistics
    config: Any

    def __init__(
        self, grid: tuple[int, int], channels: int, fingerprint: str, shipped: Statistics | None = None
    ) -> None:
        super().__init__()
        self.grid, self.channels, self.fingerprint = grid, channels, fingerprint
        self.statistics = shipped
        self.shipped = shipped is not None

    @property
    def needs_statistics(self) -> bool:
        """Whether it has to be calibrated before it can encode."""
        return bool(self.config.standardise) and self.statistics is None

    @abstractmethod
    def features(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
        """Raw latents of images in [0, 1], before statistics, in float32."""

    def measured(self, raw: Callable[[], Iterable[Tensor]]) -> Statistics:
        """Statistics of the raw features of all images, which ``raw()`` gives anew for every pass over them."""
        return measure(raw)

    def blank_statistics(self) -> Statistics:
        """Statistics of the right shape that nobody measured, for plans."""
        return blank(self.channels)

    def encode(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
        """Latents of images in [0, 1]; standardising encoders have to be calibrated first."""
        features = self.features(images)
        if not self.config.standardise:
            return features
        assert self.statistics is not None, "calibrate the encoder first"
        return self.statistics.standardise(features)

    def latent_spec(self) -> LatentSpec:
        fingerprint, measured = self.fingerprint, not self.shipped
        if measured and self.config.standardise and self.statistics is not None and not self.statistics.mean.is_meta:
            values = torch.cat([value.flatten() for value in self.statistics.buffers()]).cpu().numpy().tobytes()
            fingerprint = hashlib.sha256(fingerprint.encode() + values).hexdigest()[:16]
        return LatentSpec(self.grid[0] * self.grid[1], self.channels, self.grid, fingerprint)


class OutlinedEncoder(CalibratedEncoder):
    """One that can also be built without its weights, which planning does."""

    @classmethod
    @abstractmethod
    def on_meta(cls, config: Any, resolution: int) -> OutlinedEncoder:
        """The encoder without weights, on the meta device: shapes, parameter counts and FLOPs for images of a side."""


def uncalibrated(encoder: Encoder) -> list[CalibratedEncoder]:
    """What has to be calibrated before the encoder can encode: itself, or encoders inside of it."""
    return [part for part in encoder.modules() if isinstance(part, CalibratedEncoder) and part.needs_statistics]


def calibrate(encoder: Encoder, data: Images, device: torch.device) -> None:
    """Give an encoder, and encoders inside of it, the statistics over ``data`` that they need; each has its own."""
    for part in uncalibrated(encoder):
        _calibrate(part, data, device)


def _calibrate(encoder: CalibratedEncoder, data: Images, device: torch.device) -> None:
    key = hashlib.sha256(f"{encoder.fingerprint}/{data.name}".encode()).hexdigest()[:24]
    path = cache_folder() / f"statistics-{key}.safetensors"
    encoder.statistics = _kept(path, data, encoder.kind)
    if encoder.statistics is None:
        stamp = stamp_of(data)
        found = _measured(encoder.to(device), data, device)
        content = Content(stamp, data.content() if stamp and isinstance(data, OfFiles) else "")
        check_still(stamp, data, data.name)
        encoder.cpu()
        _write(path, found, content)
        encoder.statistics = found.cpu()


def _kept(path: Path, data: Images, kind: type[Statistics]) -> Statistics | None:
    """Statistics that were measured before; None where there are none, or the files hold something else by now."""
    if not path.exists():
        return None
    values, kept = _read(path)
    content, found = unchanged(kept, data), kind(**values)
    if content is not None and content != kept:
        _write(path, found, content)
    return found if content is not None else None


def _read(path: Path) -> tuple[dict[str, Tensor], Content]:
    try:
        values = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated ({error}); delete the file to have it measured again") from error
    if not {"mean", "std"} <= set(values):
        raise ValueError(f"{path} holds no mean and std; delete the file to have them measured again")
    with safe_open(path, "pt") as file:
        return values, Content(**(file.metadata() or {}))


def _write(path: Path, found: Statistics, content: Content) -> None:
    with written(path, shared=True) as temporary:
        save_file({name: value.contiguous() for name, value in found.named_buffers()}, temporary, content._asdict())


def _measured(encoder: CalibratedEncoder, data: Images, device: torch.device) -> Statistics:
    def raw() -> Iterator[Tensor]:
        with torch.inference_mode(), tqdm(desc="latent statistics", unit="image", leave=False) as bar:
            for images in data.batches(at_once(BATCH, data.resolution)):
                there = (~images.isnan().flatten(1).any(dim=1)).nonzero().flatten()
                if len(there):
                    features = encoder.features(images[there].to(device))
                    check_finite(encoder, features, partial(_key, data, bar.n + there))
                    yield features.cpu()
                bar.update(len(images))

    found = encoder.measured(raw)
    if not bool((found.std > 0).all()):
        constant = int((found.std == 0).sum())
        raise ValueError(
            f"{constant} of {encoder.channels} channels of {type(encoder).__name__} are the same in every training "
            "image, so they cannot be standardised: set encoder.standardise=false, or train on more varied images"
        )
    return found


def _key(data: Images, numbers: Tensor, row: int) -> str:
    return data.key(int(numbers[row]))


def blank_on_meta(encoder: CalibratedEncoder) -> CalibratedEncoder:
    """The encoder frozen, with statistics of the right shape and no values."""
    with torch.device("meta"):
        encoder.statistics = Statistics(torch.zeros(encoder.channels), torch.ones(encoder.channels))
    return encoder.requires_grad_(False).eval()


class CalibrationImages:
    """A sample of a source's images, with a name that says which."""

    def __init__(self, source: IndexedSource) -> None:
        self.source, self.resolution = source, source.resolution
        self.indices = source.order(0, 0, min(len(source), CALIBRATION_IMAGES)).tolist()
        self.name = f"{source.name}/{len(self.indices)} of order 0"

    def batches(self, size: int) -> Iterator[Tensor]:
        """Images in [0, 1], ``size`` at a time; one that cannot be used is NaN throughout."""
        return (images for images, _ in self.source.reads(size, self.indices))

    def key(self, number: int) -> str:
        """The name of the sample in this place of the order."""
        return self.source.key(self.indices[number])

    def stamp(self, again: bool = False) -> str:
        """Of the source's files."""
        return self.source.stamp(again)

    def content(self) -> str:
        """The digest of the samples, in their order."""
        return self.source.content_of(self.indices)


def calibration_images(source: Source) -> CalibrationImages:
    """The sample of ``source``; ValueError where images cannot be looked up twice."""
    if not isinstance(source, IndexedSource):
        raise ValueError(
            f"encoder.standardise measures statistics in two passes, which {source.name} does not allow: set "
            "encoder.standardise=false, or train from local files"
        )
    return CalibrationImages(source)
