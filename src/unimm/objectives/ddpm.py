"""Denoising diffusion (DDPM, arXiv 2006.11239) with the cosine schedule of arXiv 2102.09672, by `diffusers`' scheduler.

``x_k = sqrt(a_k) x + sqrt(1 - a_k) eps`` with ``a(u) = cos^2((u + s) / (1 + s) pi/2)``, s = 0.008, in 1,000 steps k;
the head predicts eps, ``L = |eps - head|^2``. It is told the time t = (k + 1) / 1000, so that 0 is data here too.

Sampling takes ``steps`` of the 1,000, evenly from the data's end ("leading"), which leaves out the last ones: there
a_k is 2e-9 and a prediction of eps says nothing about x. ``eta`` 1 adds the noise of DDPM's ancestral sampler at every
step, 0 none (DDIM, arXiv 2010.02502). The noise is keyed by sample, which `diffusers` allows in its DDIM scheduler
alone; with eta 1 that is the DDPM sampler. The schedule has no shift that follows the size of the latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.components import Head, Objective
from unimm.noise import NoiseSource
from unimm.objectives.guidance import drop, guided

STEPS = 1000


class Ddpm(Objective):
    """Denoising diffusion with a cosine schedule: noise prediction and ancestral sampling."""

    phrase = "denoising diffusion"

    class Config(ComponentConfig):
        """``steps``: of sampling; ``eta``: noise added in each, 1 as in DDPM, 0 as in DDIM.

        ``condition_dropout``: share of samples trained without their condition; ``guidance``: weight of
        classifier-free guidance, 1 for none.
        """

        condition_dropout: float = Field(0.1, ge=0, lt=1)
        steps: int = Field(25, ge=1, le=STEPS)
        guidance: float = Field(3.0, ge=1)
        eta: float = Field(1.0, ge=0, le=1)

    deterministic = False

    def __init__(self, config: Config) -> None:
        # Here, because the import takes seconds and checking a configuration needs none of it.
        from diffusers import DDIMScheduler

        self.config = config
        build: Any = DDIMScheduler
        self.scheduler = build(STEPS, beta_schedule="squaredcos_cap_v2", clip_sample=False)
        self.scheduler.set_timesteps(config.steps)

    def loss(
        self,
        head: Head,
        latents: Float[Tensor, "b n d"],
        conditions: Float[Tensor, "b q h"],
        noise: NoiseSource,
        keys: Sequence[str | int],
    ) -> Float[Tensor, ""]:
        step = (noise.child("time").uniform(keys) * STEPS).long()
        eps = noise.child("eps").normal(keys, tuple(latents.shape[1:])).to(latents.device)
        kept = self.scheduler.alphas_cumprod[step].to(latents.device)[:, None, None]
        noisy = kept.sqrt() * latents + (1 - kept).sqrt() * eps
        conditions = drop(conditions, self.config.condition_dropout, noise, keys)
        predicted: Tensor = head(noisy, ((step + 1) / STEPS).to(latents.device), conditions)
        return (predicted.float() - eps).square().mean()

    def sample(
        self,
        head: Head,
        conditions: Float[Tensor, "b q h"],
        shape: tuple[int, int],
        noise: NoiseSource,
        keys: Sequence[str | int],
    ) -> Float[Tensor, "b n d"]:
        latents = noise.child("start").normal(keys, shape).to(conditions.device)
        predict = guided(head, conditions, self.config.guidance)
        for step in self.scheduler.timesteps.tolist():
            eps = predict(latents, (step + 1) / STEPS)
            fresh = noise.child(f"step {step}").normal(keys, shape).to(latents.device) if self.config.eta else None
            settings = {"eta": self.config.eta, "variance_noise": fresh, "return_dict": False}
            latents = self.scheduler.step(eps, step, latents, **settings)[0]
        return latents
