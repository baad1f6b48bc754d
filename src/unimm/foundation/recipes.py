"""How each part of the scenes' foundation is trained; `unimm.foundation.build` runs these in order.

Part by part: the VAE reconstructs; CLIPs match captions to images by contrast (each batch holds distinct scenes); the
feature extractor of Fréchet distances classifies what is in the image; the diffusion decoder turns CLIP tokens into
VAE latents by flow matching (BLIP3-o's second stage, whose SDXL decoder works on VAE latents too).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from unimm.components import Head
from unimm.data.scenes import SceneSet, batch_indices
from unimm.encoders.clip import build_clip
from unimm.encoders.vae import VaeCore
from unimm.foundation.features import FeatureExtractor, labels
from unimm.foundation.loop import Cost, fit
from unimm.noise import NoiseSource

CLIP_BATCH = 128
CLIP_CONTEXT = 64


def train_vae(
    config: dict[str, Any], unshuffle: int, data: SceneSet, steps: int, device: torch.device
) -> tuple[VaeCore, Cost]:
    """L1 + MSE on pixels with a light KL term; noise on the latents keeps the decoder smooth around them."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    model: Any = AutoencoderKL(**config)
    core = VaeCore(model, unshuffle).to(device).to(memory_format=torch.channels_last)
    batch = 32

    def loss(step: int) -> Tensor:
        images = data.images(batch_indices(11, step, batch, len(data))).to(device) * 2 - 1
        folded = F.pixel_unshuffle(images, unshuffle).contiguous(memory_format=torch.channels_last)
        posterior = model.encode(folded).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(step)).to(device)
        decoded = model.decode(posterior.mean + posterior.std * noise).sample
        error = decoded - folded
        total: Tensor = error.abs().mean() + error.square().mean() + 1e-6 * posterior.kl().mean()
        return total

    return core, fit("vae", core, loss, batch, steps, learning_rate=2e-3)


def clip_tokens(tokenizer: PreTrainedTokenizerFast, captions: list[str], context: int = CLIP_CONTEXT) -> Tensor:
    """Caption ids ``[B, context]``: right-padded, each ending in the end-of-text token, cut where too long."""
    end = tokenizer.eos_token_id
    rows = [[*ids[: context - 1], end] for ids in tokenizer(captions, add_special_tokens=False)["input_ids"]]
    return torch.tensor([[*row, *[tokenizer.pad_token_id] * (context - len(row))] for row in rows])


def train_clip(
    name: str,
    config: dict[str, Any],
    tokenizer: PreTrainedTokenizerFast,
    data: SceneSet,
    steps: int,
    seed: int,
    device: torch.device,
) -> tuple[nn.Module, Cost]:
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


def train_features(width: int, data: SceneSet, steps: int, device: torch.device) -> tuple[FeatureExtractor, Cost]:
    """Multi-label classification of what stands where: shape x colour in each cell of a 2 x 2 grid, and the count."""
    torch.manual_seed(5)
    model = FeatureExtractor(width, labels(data.samples[:1], data.world).shape[1]).to(device)
    targets = labels(data.samples, data.world).to(device)
    batch = 64

    def loss(step: int) -> Tensor:
        indices = batch_indices(13, step, batch, len(data))
        logits = model.classify(data.images(indices).to(device))
        return F.binary_cross_entropy_with_logits(logits, targets[indices]) * 10

    return model, fit("features", model, loss, batch, steps, learning_rate=2e-3)


def train_decoder(head: Head, tokens: Tensor, targets: Tensor, steps: int, device: torch.device) -> Cost:
    """Flow matching from CLIP tokens ``[M, N, D]`` to VAE latents ``[M, N, C]``, both standardised."""
    from unimm.foundation.load import decoder_flow

    flow, batch = decoder_flow(1), 128
    head, tokens, targets = head.to(device), tokens.to(device), targets.to(device)

    def loss(step: int) -> Tensor:
        indices = batch_indices(23, step, batch, len(tokens))
        return flow.loss(head, targets[indices], tokens[indices], NoiseSource(23, "decoder", step), range(batch))

    return fit("decoder", head, loss, batch, steps, learning_rate=1.5e-3)
