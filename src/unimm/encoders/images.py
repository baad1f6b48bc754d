"""Square images as encoders take them: which sides fit, what a tower wants of its pixels, and one resize.

A run has one side, that of its source's images (``source.resolution``). Encoders get images of that side and resize
only where they work at another, decoders return images of that side: whatever the target, the scorer sees pictures of
one size. A decoder that draws larger pictures has them shrunk; one that draws smaller ones is refused, because enlarged
pictures would be held against real ones, and the target blamed for what its decoder cannot show.

A vision tower's own files say its side, mean, standard deviation and interpolation, and whether pixels are rescaled and
normalised at all. With x a byte, r the rescale factor, m and s mean and deviation, the library's processors compute
``(r x - m) / s``; here images are x / 255, so that m and s are divided by 255 r. Images come square and in [0, 1],
and are resized to the tower's side in one step: a checkpoint that resizes to 256 and then crops 224 would lose the
border of every target, so only the size after the crop counts.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unimm.checkpoints import read_config

CHANNELS, LEVELS = 3, 255.0
RESAMPLING = {2: "bilinear", 3: "bicubic"}
PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
FIX = "mean and deviation would be guesses: save the processor beside the model (processor.save_pretrained)"


def resized(images: Float[Tensor, "b 3 r r"], side: int, mode: str = "bicubic") -> Float[Tensor, "b 3 s s"]:
    """Images in [0, 1] at another side: one antialiased resize, clamped to [0, 1]; as they are where it is theirs."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode=mode, antialias=True).clamp(0, 1)


def check_side(side: int, unit: int, what: str, setting: str) -> None:
    """ValueError for a side that is no multiple of ``unit`` pixels; says which values of ``setting`` are nearest."""
    if side % unit:
        below = side // unit * unit
        nearest = f"{setting}={below} or {below + unit}" if below else f"{setting}={unit}"
        raise ValueError(f"{what} takes images whose side is a multiple of {unit} pixels, not {side}: {nearest}")


def check_drawn(drawn: int, wanted: int, what: str, fix: str) -> None:
    """ValueError where a decoder that draws ``drawn`` pixels a side would have to be enlarged to ``wanted``."""
    if drawn < wanted:
        raise ValueError(
            f"{what} draws {drawn} pixels a side, but the run's images have {wanted}, and enlarged pictures are not "
            f"scored beside real ones: {fix}"
        )


class Preprocessing(NamedTuple):
    """Side in pixels, channel means and deviations for values in [0, 1], and the interpolation of the resize."""

    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str

    def __call__(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 r r"]:
        """Resized (with antialiasing, clamped to [0, 1]) and normalised."""
        images = resized(images, self.side, self.interpolation)
        mean, std = (torch.tensor(values, device=images.device).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (images - mean) / std


def of_transformers(folder: Path, side: int | None) -> Preprocessing:
    """From the image processor's settings; ``side`` overrides their size.

    Raises:
        ValueError: the file is missing or lacks what it should say.
    """
    content = processor_settings(folder)
    interpolation = RESAMPLING.get(content.get("resample", 3))
    if interpolation is None:
        raise ValueError(
            f"{folder / PREPROCESSOR}: resample is {content.get('resample')}, but has to be 2 (bilinear) or 3 (bicubic)"
        )
    mean, std = (0.0,) * CHANNELS, (1.0,) * CHANNELS
    if content.get("do_normalize", True):
        mean, std = (_channels(folder, content, key) for key in ("image_mean", "image_std"))
    scale = _scale(folder, content)
    mean, std = (tuple(value / scale for value in values) for values in (mean, std))
    return Preprocessing(side or _side(folder, content), mean, std, interpolation)


def _channels(folder: Path, content: dict[str, Any], key: str) -> tuple[float, ...]:
    """One number a channel; a single one stands for all."""
    value = content.get(key)
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    if len(values) not in (1, CHANNELS) or not all(isinstance(one, int | float) for one in values):
        raise ValueError(
            f"{folder / PREPROCESSOR}: {key} is {value}, but do_normalize needs a number or {CHANNELS} of them: {FIX}"
        )
    if key == "image_std" and not all(values):
        raise ValueError(f"{folder / PREPROCESSOR}: image_std is {value}, and nothing can be divided by 0")
    return values * CHANNELS if len(values) == 1 else values


def _scale(folder: Path, content: dict[str, Any]) -> float:
    """The processor's pixels over those in [0, 1]: 1 for the usual factor of 1/255."""
    if not content.get("do_rescale", True):
        return LEVELS
    factor = content.get("rescale_factor", 1 / LEVELS)
    if not isinstance(factor, int | float) or not factor:
        raise ValueError(f"{folder / PREPROCESSOR}: rescale_factor is {factor}, but do_rescale needs a number")
    scale = LEVELS * factor
    return 1.0 if math.isclose(scale, 1, rel_tol=1e-6) else scale


def processor_settings(folder: Path) -> dict[str, Any]:
    """Of the image processor: a file of its own or, as transformers 5 saves whole processors, a part of theirs."""
    if not (folder / PREPROCESSOR).is_file() and (folder / PROCESSOR).is_file():
        inner = read_config(folder, PROCESSOR, FIX).get("image_processor")
        if isinstance(inner, dict):
            return inner
    return read_config(folder, PREPROCESSOR, FIX)


def _side(folder: Path, content: dict[str, Any]) -> int:
    """Side after cropping; NaFlex processors state a number of patches instead of a size."""
    if "max_num_patches" in content:
        return int(content["max_num_patches"] ** 0.5) * int(content["patch_size"])
    size = content.get("crop_size") if content.get("do_center_crop", True) else None
    size = size or content.get("size")
    sides = {size} if isinstance(size, int) else set((size or {}).values())
    if len(sides) != 1:
        raise ValueError(f"{folder / PREPROCESSOR}: size {size} is not square; set encoder.resolution")
    return int(sides.pop())
