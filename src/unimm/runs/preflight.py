"""What can be known of an encoder before anything trains on it: whether images come back, and the scale of its latents.

A decoder with random weights, or one of another encoder, gives back nothing that a judge can read: no training can
score above it. Latents far from unit scale move every noise level, x_t = (1 - t) x + t eps: small ones are noise at
nearly all t, large ones nowhere. Neither stops a run, and both look like a bad arm in its scores.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unimm.components import Decoder, Encoder
from unimm.evaluation.metric import Evidence
from unimm.evaluation.metrics.geneval import GenEvalStyle
from unimm.foundation.folder import Foundation
from unimm.runs.ceilings import real_scenes, reconstructed, rendered
from unimm.runs.run import Run
from unimm.runs.scoring import training_images
from unimm.scenes.prompts import prompt_set

FACTS = "atoms/overall"
PROMPTS_PER_TASK = 4
IMAGES = 32
LEAST_KEPT = 0.5
FAR = 4.0


class Ceiling(NamedTuple):
    """Shares of single facts that the judge reads rightly, over a number of scenes.

    On the scenes themselves (``real``), after encoder and decoder (``decoded``), and there against the prompts of
    other images (``floor``).
    """

    real: float
    decoded: float
    floor: float
    scenes: int

    @property
    def kept(self) -> float:
        """What encoder and decoder leave of the facts above chance: 1 for all of it, 0 for none."""
        return (self.decoded - self.floor) / (self.real - self.floor)

    @property
    def is_low(self) -> bool:
        """Whether most of what a scene shows is lost."""
        return self.kept < LEAST_KEPT

    def __str__(self) -> str:
        return (
            f"{self.decoded:.2f} of single facts are right after encoder and decoder, {self.real:.2f} on the "
            f"{self.scenes} scenes themselves, {self.floor:.2f} against prompts of other images"
        )


class Scale(NamedTuple):
    """Root mean square of every channel of the latents: 1 where they are standardised."""

    channels: Float[Tensor, " d"]

    @property
    def near(self) -> float:
        """Share of the channels that lie within a factor of 4 of 1."""
        return float(((self.channels > 1 / FAR) & (self.channels < FAR)).float().mean())

    @property
    def is_far(self) -> bool:
        """Whether most channels are far from unit scale."""
        return self.near < 0.5

    def __str__(self) -> str:
        low, median, high = self.channels.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
        return (
            f"half of the {len(self.channels)} channels have a root mean square from {low:.3g} to {high:.3g} (median "
            f"{median:.3g}), and standardised ones have 1"
        )


def ceiling(encoder: Encoder, decoder: Decoder, foundation: Foundation, device: torch.device) -> Ceiling:
    """What the scenes' judge reads off scenes that went through encoder and decoder."""
    prompts = prompt_set(foundation.world, "validation", PROMPTS_PER_TASK)
    scenes = real_scenes(prompts, foundation.world)
    assert scenes is not None, "the world has room for its own prompts"
    real = rendered(scenes, foundation.resolution)
    decoded = Evidence(images=reconstructed(encoder, decoder, real, device), prompts=prompts)
    judge = GenEvalStyle(GenEvalStyle.Config(), foundation)
    return Ceiling(
        real=_facts(judge, Evidence(images=real, prompts=prompts)),
        decoded=_facts(judge, decoded),
        floor=_facts(judge, decoded.with_shuffled_prompts()),
        scenes=len(prompts),
    )


@torch.inference_mode()
def scale(encoder: Encoder, images: UInt8[Tensor, "m 3 s s"], device: torch.device) -> Scale:
    """The scale of the latents of some images."""
    latents = encoder.to(device).encode(images.to(device).float() / 255)
    return Scale(latents.float().square().mean(dim=(0, 1)).sqrt().cpu())


def doubts(run: Run) -> list[str]:
    """What is to be said of the run's encoder before it trains, in sentences; nothing where all is well."""
    arm, device = run.arm, run.device
    found = ceiling(arm.encoder, arm.decoder, arm.foundation, device)
    name = run.config.encoder.name
    said = []
    if found.is_low:
        said.append(
            f"encoder={name}: its images do not come back: {found}. No training can score higher than that; check the "
            "decoder and its checkpoint"
        )
    images = training_images(run, IMAGES)
    if images is not None and (measured := scale(arm.encoder, images, device)).is_far:
        said.append(
            f"encoder={name}: its latents are far from unit scale: {measured}. Noise levels then mean something else "
            f"than for other encoders, and scores do not compare; {_mend(run)}"
        )
    arm.encoder.cpu()
    arm.decoder.cpu()
    return said


def _mend(run: Run) -> str:
    settings = run.config.encoder.config.model_dump()
    if "standardise" in settings:
        return "set encoder.standardise=true, or say in the arm's question that they are raw"
    return "derive the class from unimm.encoders.calibrated.CalibratedEncoder, which standardises (docs/extending.md)"


def _facts(judge: GenEvalStyle, evidence: Evidence) -> float:
    return next(float(score.value or 0) for score in judge.score(evidence) if score.name == FACTS)
