"""What a component gives, held against what its base class promises (`unimm.components`), where it is first used.

A plug-in that breaks a promise would otherwise fail far from its fault (a matrix product, a backward pass) or not at
all (images of 0 to 255 are clamped to white). Every message names the class and the mend. Nothing here draws or
computes: the numbers of a run are the same with and without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from unimm.components import Backbone, Decoder, Encoder, Head, LatentSpec, Objective, Strategy

# Rounding of coarse types, of which [0, 1] is made by adding and halving.
ROUNDING = 1e-2
STARTS = ("language", "understanding")


def check_backbone(backbone: Backbone) -> None:
    """ValueError for a backbone that was built without an attribute that every user of it reads."""
    needed = ("config", "tokenizer", "queries", "image_channels")
    missing = [name for name in needed if not hasattr(backbone, name)]
    if missing:
        raise ValueError(
            f"{_named(backbone)} has no {', '.join(missing)}: set {'it' if len(missing) == 1 else 'them'} in __init__ "
            "(unimm.components.Backbone says what each is)"
        )


def checked_spec(encoder: Encoder) -> LatentSpec:
    """What the encoder says its latents are; ValueError where its grid has another number of places than tokens."""
    spec = encoder.latent_spec()
    rows, columns = spec.grid
    if rows * columns != spec.tokens:
        raise ValueError(
            f"{_named(encoder)}.latent_spec() gives {spec.tokens} tokens on a grid of {rows} x {columns}: rows times "
            "columns has to be tokens"
        )
    return spec


def check_latents(encoder: Encoder, spec: LatentSpec, latents: Tensor, images: int) -> None:
    """ValueError where latents of so many images have not the shape of the encoder's ``spec``."""
    promised = (images, spec.tokens, spec.channels)
    if latents.shape != promised:
        raise ValueError(
            f"{_named(encoder)}.encode gives latents of shape {list(latents.shape)} for {images} images, and its "
            f"latent_spec() promises {list(promised)} (images, tokens, channels): make the two agree"
        )


def check_finite(encoder: Encoder, latents: Tensor, key: Callable[[int], str]) -> None:
    """ValueError that names the first image whose latents hold NaN or infinities; ``key`` names an image by its row."""
    finite = latents.isfinite().flatten(1).all(dim=1)
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0])
        what = "NaN" if bool(latents[row].isnan().any()) else "infinite values"
        raise ValueError(
            f"{_named(encoder)}.encode gives {what} for sample {key(row)}: its weights are damaged, or overflow at "
            "less than float32; check the checkpoint and encoder.dtype"
        )


def check_loss(objective: Objective, loss: Tensor) -> None:
    """ValueError for a loss that is not one number."""
    if not isinstance(loss, Tensor) or loss.ndim:
        shape = f"a tensor of shape {list(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise ValueError(
            f"{_named(objective)}.loss gives {shape}: it has to be a scalar tensor, the mean over the batch (.mean())"
        )


def check_start(strategy: Strategy) -> None:
    """ValueError for a start that no foundation has a backbone of."""
    if strategy.start not in STARTS:
        raise ValueError(f"{_named(strategy)}.start is {strategy.start!r}: it has to be one of {', '.join(STARTS)}")


def check_prediction(head: Head, predicted: Tensor, noisy: Tensor) -> None:
    """ValueError where a head's prediction has not the shape of its latents: a loss would spread one over the other."""
    if predicted.shape != noisy.shape:
        raise ValueError(
            f"{_named(head)} predicts a tensor of shape {list(predicted.shape)} for latents of {list(noisy.shape)}: it "
            "has to predict one of the latents' shape (images, tokens, channels)"
        )


def check_sampled(objective: Objective, latents: Tensor, shape: tuple[int, int], count: int) -> None:
    """ValueError where what an objective sampled for so many prompts has not the latents' ``shape``."""
    if latents.shape != (count, *shape):
        raise ValueError(
            f"{_named(objective)}.sample gives latents of shape {list(latents.shape)} for {count} prompts: it has to "
            f"be {[count, *shape]} (prompts, tokens, channels)"
        )


def check_images(decoder: Decoder, images: Tensor, count: int) -> None:
    """ValueError where a decoder's pictures of ``count`` latents are not square RGB images in [0, 1]."""
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[:2] != (count, 3) or shape[2] != shape[3]:
        raise ValueError(
            f"{_named(decoder)}.decode gives images of shape {list(shape)} for {count} latents: it has to be "
            f"[{count}, 3, side, side]"
        )
    low, high = (float(value) for value in images.aminmax())
    if low != low or high != high:  # NaN; as a byte it would be black
        raise ValueError(
            f"{_named(decoder)}.decode gives values that are no numbers (NaN): the decoder's weights are damaged, or "
            "the latents it was given have diverged"
        )
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ValueError(
            f"{_named(decoder)}.decode gives values from {low:.4g} to {high:.4g}: images are in [0, 1]; scale them "
            "there (images / 255, or (images + 1) / 2) and clamp what overshoots (.clamp(0, 1))"
        )


def _named(component: Any) -> str:
    return f"{type(component).__module__}.{type(component).__qualname__}"
