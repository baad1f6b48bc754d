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
from pathlib import Path
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
from unimm.files import written
from unimm.noise import NoiseSource


def drawn(seed: int, draw: int) -> int:
    """The seed of a recipe in a draw of the foundation; draw 0 has the recipe's own."""
    return seed + 1_000_000 * draw


class Course(NamedTuple):
    """How long a part trains, where, in which draw, and the file that keeps it while it is unfinished."""

    steps: int
    device: torch.device
    draw: int = 0
    unfinished: Path | None = None


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
    unfinished: Path | None = None,
) -> TrainingCost:
    """Minimise ``loss_of_step(step)`` ``steps`` times; raises FloatingPointError on a NaN loss.

    Every `KEPT_EVERY` steps model and optimiser are kept in ``unfinished``, from which another call goes on.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    model.train()
    begin, before, smooth = _resumed(unfinished, model, optimiser)
    started = time.monotonic() - before
    bar = tqdm(range(begin, steps), desc=name, unit="step", mininterval=5, initial=begin, total=steps)
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
        if unfinished is not None and (step + 1) % KEPT_EVERY == 0:
            state = {"step": step + 1, "seconds": time.monotonic() - started, "loss": smooth}
            _keep(unfinished, {**state, "model": model.state_dict(), "optimiser": optimiser.state_dict()})
    model.eval()
    return TrainingCost(steps, steps * batch_size, time.monotonic() - started, smooth)


def _keep(path: Path, state: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as temporary:
        torch.save(state, temporary)


def _resumed(path: Path | None, model: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[int, float, float]:
    """The step to go on from, the seconds that came before it and the loss; model and optimiser are as they were."""
    if path is None or not path.exists():
        return 0, 0.0, math.nan
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return state["step"], state["seconds"], state["loss"]


CLIP_BATCH = 128
KEPT_EVERY = 200


def train_vae(config: dict[str, Any], unshuffle: int, data: SceneSet, course: Course) -> tuple[VaeCore, TrainingCost]:
    """L1 + MSE on pixels with a light KL term; noise on the latents keeps the decoder smooth around them."""
    from diffusers import AutoencoderKL

    torch.manual_seed(drawn(0, course.draw))
    model: Any = AutoencoderKL(**config)
    core = VaeCore(model, unshuffle).to(course.device).to(memory_format=torch.channels_last)
    batch = 32

    def loss(step: int) -> Tensor:
        images = data.images(batch_indices(drawn(11, course.draw), step, batch, len(data))).to(course.device) * 2 - 1
        folded = F.pixel_unshuffle(images, unshuffle).contiguous(memory_format=torch.channels_last)
        posterior = model.encode(folded).latent_dist
        keyed = torch.Generator().manual_seed(drawn(step, course.draw))
        noise = torch.randn(posterior.mean.shape, generator=keyed).to(course.device)
        decoded = model.decode(posterior.mean + posterior.std * noise).sample
        error = decoded - folded
        total: Tensor = error.abs().mean() + error.square().mean() + 1e-6 * posterior.kl().mean()
        return total

    return core, fit("vae", core, loss, batch, course.steps, 2e-3, unfinished=course.unfinished)


def train_clip(
    name: str,
    config: dict[str, Any],
    tokenizer: PreTrainedTokenizerFast,
    data: SceneSet,
    own_seed: int,
    course: Course,
) -> tuple[nn.Module, TrainingCost]:
    """Symmetric contrastive loss; three batches in four use long captions, the fourth short ones."""
    seed = drawn(own_seed, course.draw)
    torch.manual_seed(seed)
    model = build_clip({**config, "text_cfg": {**config["text_cfg"], "vocab_size": len(tokenizer)}}).to(course.device)
    long = clip_tokens(tokenizer, [s.long for s in data.samples]).to(course.device)
    short = clip_tokens(tokenizer, [s.short for s in data.samples], 16).to(course.device)
    short = F.pad(short, (0, CLIP_CONTEXT - 16), value=tokenizer.pad_token_id)

    def loss(step: int) -> Tensor:
        indices = batch_indices(seed, step, CLIP_BATCH, len(data))
        texts = (short if step % 4 == 3 else long)[indices]
        image, text = (
            model.encode_image(data.images(indices).to(course.device) * 2 - 1, normalize=True),
            model.encode_text(texts),
        )
        scale = model.logit_scale.exp().clamp(max=100)
        logits = scale * image @ F.normalize(text, dim=-1).T
        same = (texts[:, None] == texts[None]).all(-1).float()
        target = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    return model, fit(name, model, loss, CLIP_BATCH, course.steps, 1e-3, unfinished=course.unfinished)


def train_features(width: int, data: SceneSet, course: Course) -> tuple[FeatureExtractor, TrainingCost]:
    """Multi-label classification of what stands where: shape x colour in each cell of a 2 x 2 grid, and the count."""
    torch.manual_seed(drawn(5, course.draw))
    model = FeatureExtractor(width, labels(data.samples[:1], data.world).shape[1]).to(course.device)
    targets = labels(data.samples, data.world).to(course.device)
    batch = 64

    def loss(step: int) -> Tensor:
        indices = batch_indices(drawn(13, course.draw), step, batch, len(data))
        logits = model.classify(data.images(indices).to(course.device))
        return F.binary_cross_entropy_with_logits(logits, targets[indices]) * 10

    return model, fit("features", model, loss, batch, course.steps, 2e-3, unfinished=course.unfinished)


def train_decoder(
    head: Head,
    tokens: Tensor,
    targets: Tensor,
    token_noise: float,
    course: Course,
) -> TrainingCost:
    """Flow matching from CLIP tokens ``[M, N, D]`` to VAE latents ``[M, N, C]``, both standardised.

    ``token_noise``: tau of `unimm.encoders.token_decoder.noised`.
    """
    from unimm.encoders.token_decoder import decoder_flow, noised

    flow, batch, seed = decoder_flow(1), 128, drawn(23, course.draw)
    head, tokens, targets = head.to(course.device), tokens.to(course.device), targets.to(course.device)

    def loss(step: int) -> Tensor:
        indices, noise = batch_indices(seed, step, batch, len(tokens)), NoiseSource(seed, "decoder", step)
        conditions = noised(tokens[indices], token_noise, noise.child("tokens"))
        return flow.loss(head, targets[indices], conditions, noise, range(batch))

    return fit("decoder", head, loss, batch, course.steps, 1.5e-3, unfinished=course.unfinished)
