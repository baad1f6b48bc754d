"""The vision tower of a vision-language model: what its own forward pass takes from an image, as tokens to keep.

The tower is frozen, so that its tokens are cached like any encoder's. `transformers` asks a model for an image's
features in one place, ``get_image_features``: what that returns is laid side by side here as the channels of the
image's tokens, and `recalled` gives it back there. So the model's own pass places the features, whatever it does with
them: Qwen3-VL adds those of deeper blocks (deepstack) inside of its language model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unimm.components import Decoder, Encoder, LatentSpec
from unimm.foundation.folder import Foundation

MAIN, DEEPER = "pooler_output", "deepstack_features"


def ramp(side: int) -> Float[Tensor, "3 s s"]:
    """A picture in [0, 1] of which no two parts are alike, and none is what a model takes for padding (all zeros)."""
    line = torch.linspace(0, 1, side)
    return torch.stack([line.expand(side, side), line[:, None].expand(side, side), 0.5 * (line + line[:, None])])


class Layout(NamedTuple):
    """How one image's features are returned: shapes of the tensors of each part, and whether they came in a list."""

    kind: type
    parts: tuple[tuple[tuple[int, ...], ...], ...]
    listed: tuple[bool, ...]

    def tokens(self, output: Any, images: int) -> Float[Tensor, "b n d"]:
        """All parts of the features of so many images, side by side."""
        flat = [torch.cat([t.reshape(-1, t.shape[-1]) for t in _tensors(part)]) for part in _parts(output)]
        return torch.cat([rows.view(images, -1, rows.shape[-1]) for rows in flat], dim=-1)

    def output(self, tokens: Float[Tensor, "b n d"]) -> Any:
        """What `tokens` were made of."""
        widths = [shapes[0][-1] for shapes in self.parts]
        main, *deeper = (
            self._part(number, rows.contiguous()) for number, rows in enumerate(tokens.split(widths, dim=-1))
        )
        made = self.kind()
        # As attributes: not every class that a model returns declares them as fields (Idefics3's of transformers 5.0).
        setattr(made, MAIN, main)
        if deeper:
            setattr(made, DEEPER, deeper)
        return made

    def _part(self, number: int, rows: Float[Tensor, "b n d"]) -> Any:
        shapes, images = self.parts[number], len(rows)
        if not self.listed[number]:
            (shape,) = shapes
            return rows.reshape(images * shape[0], *shape[1:])
        sizes = [int(torch.Size(shape[:-1]).numel()) for shape in shapes] * images
        pieces = rows.flatten(0, 1).split(sizes)
        return tuple(piece.reshape(shape) for piece, shape in zip(pieces, shapes * images, strict=True))


def layout_of(output: Any) -> Layout:
    """The layout of what ``get_image_features`` returned for one image."""
    parts = _parts(output)
    shapes = tuple(tuple(tuple(tensor.shape) for tensor in _tensors(part)) for part in parts)
    return Layout(type(output), shapes, tuple(not isinstance(part, Tensor) for part in parts))


def _parts(output: Any) -> list[Any]:
    return [getattr(output, MAIN), *(getattr(output, DEEPER, None) or ())]


def _tensors(part: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return [part] if isinstance(part, Tensor) else part


class OwnVision(Encoder):
    """The vision tower of a vision-language model, with its own image processor: images to tokens it understands."""

    def __init__(self, config: Any, model: Any, processor: Any, fingerprint: str) -> None:
        super().__init__()
        self.config, self.model, self.processor, self._fingerprint = config, model, processor, fingerprint
        seen = self.prepared(ramp(config.resolution)[None])
        # What the model's pass reads of an image beside its pixels, such as its grid; [1, ...] each.
        self.beside = {name: value for name, value in seen.items() if name != "pixel_values"}
        with torch.no_grad():
            self.layout = layout_of(model.get_image_features(**seen))

    @classmethod
    def build(cls, config: Any, foundation: Foundation) -> OwnVision:
        raise ValueError("a backbone's own vision tower is built with the backbone")

    def decoder(self, foundation: Foundation, steps: int) -> Decoder:
        raise ValueError("a backbone's own vision tower is what it sees with, not a target: nothing decodes its tokens")

    def prepared(self, images: Float[Tensor, "b 3 s s"]) -> dict[str, Tensor]:
        """What the model's image processor makes of images in [0, 1], resized to the configured side first."""
        side = self.config.resolution
        if images.shape[-1] != side:
            images = F.interpolate(images, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)
        made = self.processor(images=list(images), do_rescale=False, return_tensors="pt")
        return {name: value.to(images.device) for name, value in made.items()}

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
        return self.layout.tokens(self.model.get_image_features(**self.prepared(images)), len(images)).float()

    def latent_spec(self) -> LatentSpec:
        device = next(self.model.parameters()).device
        tokens, channels = self.encode(ramp(self.config.resolution).to(device)[None]).shape[1:]
        # Features of deeper blocks change what is kept of the same files.
        deeper = f"+{len(self.layout.parts) - 1}" if len(self.layout.parts) > 1 else ""
        return LatentSpec(tokens, channels, (1, tokens), self._fingerprint + deeper)

    @contextmanager
    def recalled(self, tokens: Float[Tensor, "b n d"]) -> Iterator[dict[str, Tensor]]:
        """The model's pass finds these tokens instead of looking at pixels; yields its arguments about images."""
        asked = self.model.base_model
        asked.get_image_features = lambda *_, **__: self.layout.output(tokens)
        try:
            repeated = {name: value.repeat_interleave(len(tokens), dim=0) for name, value in self.beside.items()}
            yield {"pixel_values": tokens, **{name: value.to(tokens.device) for name, value in repeated.items()}}
        finally:
            del asked.get_image_features
