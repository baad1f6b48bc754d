"""How a target grows with the image: tokens of the arm's encoder, and what one pass of its head then costs.

BLIP3-o (arXiv 2505.09568) argues for CLIP features because they stay 64 tokens at every resolution, while VAE latents
grow with it. Here a scene is drawn larger, encoded by the run's own encoder, and a head of the run's own size, built
for that many tokens (its weights do not matter), is counted on one sample. Encoders that can be built without weights
are run on shapes alone: an autoencoder's activations at four times 1,024 pixels would fill a machine's memory.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from unimm.data.scenes import SceneSet
from unimm.encoders.calibrated import OutlinedEncoder
from unimm.evaluation.flops import count_flops
from unimm.registry import heads
from unimm.schema import RunConfig
from unimm.training.assemble import Arm

FACTORS = (1, 2, 4)


def resolution_scaling(config: RunConfig, arm: Arm, device: torch.device) -> list[dict[str, int]]:
    """The ``resolution_scaling`` of result.json, from the run's resolution as far up as the encoder goes."""
    points = []
    for factor in FACTORS:
        side = factor * arm.foundation.resolution
        try:
            tokens = encoded_tokens(arm, side, device)
        except (ValueError, RuntimeError):  # a tower may be made for one size only
            if factor == 1:
                raise
            break
        points.append({"resolution": side, "tokens": tokens, "head_flops": head_flops(config, arm, tokens)})
    return points


@torch.inference_mode()
def encoded_tokens(arm: Arm, side: int, device: torch.device) -> int:
    """Tokens of one image of a side."""
    encoder = arm.encoder
    if isinstance(encoder, OutlinedEncoder):
        outline = encoder.on_meta(encoder.config, side)
        return int(outline.encode(torch.empty(1, 3, side, side, device="meta")).shape[1])
    image = SceneSet(arm.foundation.world, "validation", 1, side).images(slice(0, 1))
    return int(encoder.to(device).encode(image.to(device)).shape[1])


@torch.inference_mode()
def head_flops(config: RunConfig, arm: Arm, tokens: int) -> int:
    """FLOPs of one forward pass on one sample of so many tokens, on a square grid; counted on shapes alone."""
    side, channels, width = math.isqrt(tokens), arm.encoder.latent_spec().channels, arm.backbone.width
    if side * side != tokens:
        raise ValueError(f"encoder={config.encoder.name} gave {tokens} tokens, which form no square grid")
    build: Any = heads.get(config.head.name)
    with torch.device("meta"):
        head = build(config.head.config, channels, (side, side), width).eval()
        queries = tokens if head.one_query_a_token else len(arm.backbone.queries)
        noisy, time, conditions = torch.zeros(1, tokens, channels), torch.zeros(1), torch.zeros(1, queries, width)
    return count_flops(lambda: head(noisy, time, conditions))
