"""Prompts to images: backbone, objective's sampler, decoder.

Every sample's noise is keyed by (prompt number, image number) and by stage, so an image does not depend on the batch
it was made in, and two arms with the same latents start from the same noise.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unimm.backbones.causal_lm import conditions_of
from unimm.backbones.literal import dropped
from unimm.backbones.wording import generation_ids
from unimm.components import Backbone, Decoder, Head, LatentSpec, Objective
from unimm.noise import NoiseSource
from unimm.progress import counting, say
from unimm.seam_checks import check_images, check_sampled

BATCH = 64
# Guided, these are 64 rows: twice as many leave a core's cache, and take 1.17 times as long each.
SAMPLED_ON_CPU = 32
SHOWN = 40  # characters of a prompt in a message


class Pipeline:
    """All parts of a trained arm that sampling needs; ``decoded_at_once``: how many images the decoder gets a time."""

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        objective: Objective,
        decoder: Decoder,
        spec: LatentSpec,
        decoded_at_once: int = BATCH,
    ) -> None:
        self.backbone, self.head, self.objective = backbone, head, objective
        self.decoder, self.spec, self.decoded_at_once = decoder, spec, decoded_at_once

    def to(self, device: torch.device) -> Pipeline:
        """Move all parts to a device, in place."""
        for part in (self.backbone, self.head, self.decoder):
            part.to(device)
        return self

    @torch.inference_mode()
    def __call__(
        self, prompts: Sequence[str], keys: Sequence[str], noise: NoiseSource, batch: int = BATCH
    ) -> UInt8[Tensor, "m 3 s s"]:
        """One image for every prompt, with a progress bar; equal keys mean equal noise."""
        images = []
        with counting(len(prompts), "sampling", "image") as bar:
            for begin in range(0, len(prompts), batch):
                part = slice(begin, begin + batch)
                images.append(self.decoded(self.latents(prompts[part], keys[part], noise), keys[part], noise))
                bar.update(len(images[-1]))
        return torch.cat(images)

    @torch.inference_mode()
    def latents(self, prompts: Sequence[str], keys: Sequence[str], noise: NoiseSource) -> Float[Tensor, "m n d"]:
        """The objective's samples for one batch of prompts."""
        tokenizer = self.backbone.tokenizer
        rows = [generation_ids(tokenizer, prompt) for prompt in prompts]
        for prompt, row in zip(prompts, rows, strict=True):
            if dropped(row):
                say(f"the prompt {prompt[:SHOWN]}... is too long: its last {dropped(row):,} tokens were cut off")
        conditions = conditions_of(self.backbone, rows)
        few = SAMPLED_ON_CPU if conditions.device.type == "cpu" else len(rows)
        parts = [slice(begin, begin + few) for begin in range(0, len(rows), few)]
        return torch.cat([self._sampled(conditions[part], keys[part], noise) for part in parts])

    def _sampled(
        self, conditions: Float[Tensor, "b q h"], keys: Sequence[str], noise: NoiseSource
    ) -> Float[Tensor, "b n d"]:
        shape = (self.spec.tokens, self.spec.channels)
        latents = self.objective.sample(self.head, conditions, shape, noise.child("latents"), keys).float()
        check_sampled(self.objective, latents, shape, len(conditions))
        return latents

    @torch.inference_mode()
    def decoded(
        self, latents: Float[Tensor, "m n d"], keys: Sequence[str], noise: NoiseSource
    ) -> UInt8[Tensor, "m 3 s s"]:
        """Images of latents, as many at once as the decoder takes; the keys name the decoder's noise."""
        parts = [slice(begin, begin + self.decoded_at_once) for begin in range(0, len(latents), self.decoded_at_once)]
        return torch.cat([self._decoded(latents[part], keys[part], noise) for part in parts])

    def _decoded(
        self, latents: Float[Tensor, "b n d"], keys: Sequence[str], noise: NoiseSource
    ) -> UInt8[Tensor, "b 3 s s"]:
        images = self.decoder.decode(latents, noise, keys)
        check_images(self.decoder, images, len(latents))
        return to_uint8(images)


def to_uint8(images: Tensor) -> UInt8[Tensor, "b 3 s s"]:
    """Images in [0, 1] as bytes on the CPU."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
