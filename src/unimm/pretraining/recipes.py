"""How each part of the scenes' foundation is trained; `unimm.pretraining.build` runs these in order.

Part by part: the VAE reconstructs; CLIPs match captions to images by contrast (each batch holds distinct scenes); the
feature extractor of Fréchet distances classifies what is in the image; the diffusion decoder turns CLIP tokens into
VAE latents by flow matching (BLIP3-o's second stage, whose SDXL decoder works on VAE latents too).

The plain training loop of the foundation's parts: AdamW, warm-up, cosine decay over a number of steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from unimm.components import Head
from unimm.data.scenes import SceneSet, batch_indices
from unimm.encoders.clip import CLIP_CONTEXT, build_clip, clip_tokens
from unimm.encoders.vae import VaeCore
from unimm.evaluation.features import FeatureExtractor, labels
from unimm.noise import NoiseSource


def drawn(seed: int, draw: int) -> int:
    """The seed of a recipe in a draw of the foundation; draw 0 has the recipe's own."""
    return seed + 1_000_000 * draw


class TrainingCost(NamedTuple):
    """What training a part took."""

    steps: int
    samples: int
    seconds: float
    loss: float


def fit(
    name: str,
    model: nn.Module,
    loss_of_step: Callable[[int], Tensor],
    batch_size: int,
    steps: int,
    learning_rate: float = 1e-3,
    warmup: int = 100,
) -> TrainingCost:
    """Minimise ``loss_of_step(step)`` ``steps`` times; raises FloatingPointError on a NaN loss."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    model.train()
    started, smooth = time.monotonic(), math.nan
    bar = tqdm(range(steps), desc=name, unit="step", mininterval=5)
    for step in bar:
        progress = step / steps
        rate = learning_rate * min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = loss_of_step(step)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{name}: the loss is not finite at step {step}; lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        smooth = loss.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss.item()
        bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
    model.eval()
    return TrainingCost(steps, steps * batch_size, time.monotonic() - started, smooth)


CLIP_BATCH = 128


def train_vae(
    config: dict[str, Any], unshuffle: int, data: SceneSet, steps: int, device: torch.device, draw: int = 0
) -> tuple[VaeCore, TrainingCost]:
    """L1 + MSE on pixels with a light KL term; noise on the latents keeps the decoder smooth around them."""
    from diffusers import AutoencoderKL

    torch.manual_seed(drawn(0, draw))
    model: Any = AutoencoderKL(**config)
    core = VaeCore(model, unshuffle).to(device).to(memory_format=torch.channels_last)
    batch = 32

    def loss(step: int) -> Tensor:
        images = data.images(batch_indices(drawn(11, draw), step, batch, len(data))).to(device) * 2 - 1
        folded = F.pixel_unshuffle(images, unshuffle).contiguous(memory_format=torch.channels_last)
        posterior = model.encode(folded).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(drawn(step, draw))).to(device)
        decoded = model.decode(posterior.mean + posterior.std * noise).sample
        error = decoded - folded
        total: Tensor = error.abs().mean() + error.square().mean() + 1e-6 * posterior.kl().mean()
        return total

    return core, fit("vae", core, loss, batch, steps, learning_rate=2e-3)


def train_clip(
    name: str,
    config: dict[str, Any],
    tokenizer: PreTrainedTokenizerFast,
    data: SceneSet,
    steps: int,
    seed: int,
    device: torch.device,
) -> tuple[nn.Module, TrainingCost]:
    """Symmetric contrastive loss; three batches in four use long captions, the fourth short ones."""
    torch.manual_seed(seed)
    model = build_clip({**config, "text_cfg": {**config["text_cfg"], "vocab_size": len(tokenizer)}}).to(device)
    long = clip_tokens(tokenizer, [s.long for s in data.samples]).to(device)
    short = clip_tokens(tokenizer, [s.short for s in data.samples], 16).to(device)
    short = F.pad(short, (0, CLIP_CONTEXT - 16), value=tokenizer.pad_token_id)

    def loss(step: int) -> Tensor:
        indices = batch_indices(seed, step, CLIP_BATCH, len(data))
        texts = (short if step % 4 == 3 else long)[indices]
        image, text = (
            model.encode_image(data.images(indices).to(device) * 2 - 1, normalize=True),
            model.encode_text(texts),
        )
        scale = model.logit_scale.exp().clamp(max=100)
        logits = scale * image @ F.normalize(text, dim=-1).T
        same = (texts[:, None] == texts[None]).all(-1).float()
        target = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    return model, fit(name, model, loss, CLIP_BATCH, steps, learning_rate=1e-3)


def train_features(
    width: int, data: SceneSet, steps: int, device: torch.device, draw: int = 0
) -> tuple[FeatureExtractor, TrainingCost]:
    """Multi-label classification of what stands where: shape x colour in each cell of a 2 x 2 grid, and the count."""
    torch.manual_seed(drawn(5, draw))
    model = FeatureExtractor(width, labels(data.samples[:1], data.world).shape[1]).to(device)
    targets = labels(data.samples, data.world).to(device)
    batch = 64

    def loss(step: int) -> Tensor:
        indices = batch_indices(drawn(13, draw), step, batch, len(data))
        logits = model.classify(data.images(indices).to(device))
        return F.binary_cross_entropy_with_logits(logits, targets[indices]) * 10

    return model, fit("features", model, loss, batch, steps, learning_rate=2e-3)


def train_decoder(
    head: Head,
    tokens: Tensor,
    targets: Tensor,
    steps: int,
    device: torch.device,
    seed: int = 23,
    token_noise: float = 0.0,
) -> TrainingCost:
    """Flow matching from CLIP tokens ``[M, N, D]`` to VAE latents ``[M, N, C]``, both standardised.

    ``token_noise``: tau of `unimm.encoders.token_decoder.noised`.
    """
    from unimm.encoders.token_decoder import decoder_flow, noised

    flow, batch = decoder_flow(1), 128
    head, tokens, targets = head.to(device), tokens.to(device), targets.to(device)

    def loss(step: int) -> Tensor:
        indices, noise = batch_indices(seed, step, batch, len(tokens)), NoiseSource(seed, "decoder", step)
        conditions = noised(tokens[indices], token_noise, noise.child("tokens"))
        return flow.loss(head, targets[indices], conditions, noise, range(batch))

    return fit("decoder", head, loss, batch, steps, learning_rate=1.5e-3)
