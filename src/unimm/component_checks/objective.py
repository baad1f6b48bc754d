"""Checks of an objective on a small transformer: its loss, its samples, and whether noise decides them as it says."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unimm.component_checks.bench import Broken, Subject, Unchecked, close, keys_for, normal, same, seconds_for
from unimm.component_checks.head import CHANNELS, GRID, TOKENS, WIDTH, stirred
from unimm.components import Head, Objective
from unimm.heads.dit import DiffusionTransformer
from unimm.noise import NoiseSource
from unimm.seam_checks import check_loss, check_sampled

BATCH = 8
SHAPE = (TOKENS, CHANNELS)


class ObjectiveBench:
    """The objective, a transformer of one layer, standard normal latents and conditions."""

    def __init__(self, subject: Subject) -> None:
        self.device = subject.device
        self.objective: Objective = subject.cls(subject.config)

    @cached_property
    def head(self) -> Head:
        """A head whose prediction depends on all that it is given."""
        torch.manual_seed(0)
        channels = self.objective.head_channels(CHANNELS)
        head = DiffusionTransformer(DiffusionTransformer.Config(width=32, layers=1, heads=2), channels, GRID, WIDTH)
        return stirred(head).to(self.device).eval()

    @cached_property
    def latents(self) -> Tensor:
        """Targets of a batch."""
        return normal(BATCH, *SHAPE).to(self.device)

    @cached_property
    def conditions(self) -> Tensor:
        """Conditions of a batch, a query a token."""
        return normal(BATCH, TOKENS, WIDTH, seed=1).to(self.device)

    def loss(self, seed: int = 0, part: slice = slice(None)) -> Tensor:
        """Of a part of the batch, under the noise of a seed."""
        keys = keys_for(BATCH)[part]
        noise = NoiseSource(seed, "check")
        return self.objective.loss(self.head, self.latents[part], self.conditions[part], noise, keys)

    @torch.no_grad()
    def sample(self, seed: int = 0, count: int = BATCH) -> Tensor:
        """Latents for the first conditions, under the noise of a seed."""
        noise: Any = NoiseSource(seed, "check")
        return self.objective.sample(self.head, self.conditions[:count], SHAPE, noise, keys_for(count))


def _loss(bench: ObjectiveBench) -> str:
    if bench.objective.tower is not None:
        raise Unchecked("reads the tokens of a tower, which only an arm gives: try it in one with profile=tiny")
    loss = bench.loss().detach()
    check_loss(bench.objective, loss)
    if not bool(loss.isfinite()):
        raise Broken(f"the loss is {float(loss)} for standard normal latents")
    return f"{float(loss):.4g}, a scalar"


def _gradients(bench: ObjectiveBench) -> str:
    bench.head.zero_grad()
    bench.loss().backward()
    norm = sum(float(p.grad.square().sum()) for p in bench.head.parameters() if p.grad is not None) ** 0.5
    bench.head.zero_grad()
    if not 0 < norm < float("inf"):
        raise Broken(f"the gradient of the head has norm {norm:.3g}: is the loss made of what the head predicts?")
    return f"norm {norm:.3g} at the head"


def _repeats(bench: ObjectiveBench) -> str:
    return same(bench.loss().detach(), bench.loss().detach(), "the loss of the same batch and keys a second time")


def _batches(bench: ObjectiveBench) -> str:
    each = torch.stack([bench.loss(part=slice(n, n + 1)).detach() for n in range(BATCH)])
    return close(bench.loss().detach(), each.mean(), "the loss of a batch and the mean of its samples' losses")


def _samples(bench: ObjectiveBench) -> str:
    latents = bench.sample()
    check_sampled(bench.objective, latents, SHAPE, BATCH)
    if not bool(latents.isfinite().all()):
        raise Broken("samples hold NaN or infinite values")
    return f"{list(latents.shape)}, root mean square {float(latents.square().mean().sqrt()):.3g}"


def _samples_repeat(bench: ObjectiveBench) -> str:
    return same(bench.sample(), bench.sample(), "samples of the same keys a second time")


def _samples_in_batches(bench: ObjectiveBench) -> str:
    return close(bench.sample(count=1), bench.sample()[:1], "a sample alone and among others")


def _noise(bench: ObjectiveBench) -> str:
    differs = not torch.equal(bench.sample(seed=0), bench.sample(seed=1))
    if differs == bench.objective.deterministic:
        word = "other" if differs else "the same"
        raise Broken(f"other noise gives {word} samples, and deterministic is {bench.objective.deterministic}")
    return "other noise gives other samples" if differs else "samples do not depend on noise, as it says"


def _seconds(bench: ObjectiveBench) -> str:
    training, sampling = (seconds_for(call, bench.device) for call in (bench.loss, bench.sample))
    return f"{training:.2g} s for a loss, {sampling:.2g} s to sample, {BATCH} samples and one layer each"


STEPS = {
    "loss": _loss,
    "gradients": _gradients,
    "repeats": _repeats,
    "batches": _batches,
    "samples": _samples,
    "samples repeat": _samples_repeat,
    "samples in batches": _samples_in_batches,
    "noise": _noise,
    "seconds": _seconds,
}
