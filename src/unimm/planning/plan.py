"""The plan of an arm: parameters, memory of a GPU, FLOPs a sample, samples a second and days.

Everything follows from shapes and from what `unimm.planning.devices` states; nothing is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from unimm.components import parameter_count
from unimm.planning.devices import Device
from unimm.planning.outline import Outline, outline
from unimm.planning.work import Kept, Memory, Work, cost, gathered, replicated, sharded, trained_backbone
from unimm.schema import Choice, RunConfig

DAY = 86_400
BYTES = {"float32": 4, "bfloat16": 2}


class PartParameters(NamedTuple):
    """Parameters of one part of the arm."""

    name: str
    trained: int
    frozen: int


@dataclass(frozen=True)
class ArmPlan:
    """What `unimm plan` prints; memory in bytes, ``resolution`` in pixels, ``samples`` the run's or those asked for."""

    config: RunConfig
    device: Device
    gpus: int
    samples: int
    utilisation: float
    resolution: int
    latents: tuple[int, int]
    prompt: int
    parts: tuple[PartParameters, ...]
    encoder_bytes: int
    replicated: Memory
    sharded: Memory
    kept: Kept
    work: Work

    @property
    def micro_batch(self) -> int:
        """Samples that a GPU works on at a time, of which a step has one or several."""
        return _micro_batch(self.config, self.gpus)

    def fitting(self, memory: Memory) -> int:
        """Samples of a step that fit on a GPU at once, of a plan's ``replicated`` or ``sharded`` memory."""
        left = self.device.memory_gb * 1e9 - (memory.total - memory.activations)
        return max(0, int(left // sum(self.kept)))

    def rate(self, flops: int, utilisation: float = 1.0) -> float:
        """Samples a second that all GPUs together cannot exceed at this share of their peak."""
        return self.gpus * self.device.peak_tflops * 1e12 * utilisation / flops

    def days(self, flops: int, utilisation: float = 1.0) -> float:
        """Days for all samples at that rate."""
        return self.samples / self.rate(flops, utilisation) / DAY


def make_plan(config: RunConfig, device: Device, gpus: int, samples: int | None, utilisation: float) -> ArmPlan:
    """Plan an arm on ``gpus`` devices.

    Raises:
        ValueError: the batch cannot be split evenly, or a checkpoint's configuration is not known.
    """
    samples_at_once = _micro_batch(config, gpus)
    arm = outline(config)
    parts = parameters(arm)
    done, kept = cost(arm)
    backbone = arm.language_model
    frozen_bytes = trained_backbone(arm).frozen * BYTES[_type(config.backbone)]
    # Only the decoder runs in a step; a model's eyes and its output matrix are not copied.
    copied = parameter_count(arm.head) + parameter_count(_decoder(backbone)) if _autocast(config) else 0
    whole = replicated(frozen_bytes, sum(part.trained for part in parts), copied, kept, samples_at_once)
    return ArmPlan(
        config=config,
        device=device,
        gpus=gpus,
        samples=samples or config.training.samples,
        utilisation=utilisation,
        resolution=arm.resolution,
        latents=(arm.spec.tokens, arm.spec.channels),
        prompt=arm.prompt,
        parts=parts,
        encoder_bytes=parameter_count(arm.encoder) * BYTES[_type(config.encoder)],
        replicated=whole,
        sharded=sharded(whole, gpus, gathered(backbone, arm.head)),
        kept=kept,
        work=done,
    )


def parameters(arm: Outline) -> tuple[PartParameters, ...]:
    """Parameters part by part; image projectors of backbones without eyes are left out."""
    backbone = trained_backbone(arm)
    head = parameter_count(arm.head, True), parameter_count(arm.head, False)
    return (
        PartParameters("encoder", 0, parameter_count(arm.encoder)),
        PartParameters("backbone", backbone.trained, backbone.frozen),
        PartParameters("queries", arm.queries * arm.width, 0),
        PartParameters("head", *head),
    )


def _micro_batch(config: RunConfig, gpus: int) -> int:
    batch, parts = config.training.batch_size, config.training.gradient_accumulation_steps
    if batch % (gpus * parts):
        split = f"{gpus} GPUs" if parts == 1 else f"{gpus} GPUs x {parts} micro-batches"
        raise ValueError(
            f"training.batch_size={batch} cannot be split over {split}: choose a multiple of {gpus * parts}"
        )
    return batch // (gpus * parts)


def _autocast(config: RunConfig) -> bool:
    """Whether training on a GPU would use bfloat16."""
    return config.training.precision != "fp32"


def _type(choice: Choice) -> str:
    """The type in which a pretrained part is kept, float32 where it has no such setting."""
    return str(choice.config.model_dump().get("dtype", "float32"))


def _decoder(model: nn.Module) -> nn.Module:
    return model.get_decoder().layers  # type: ignore[no-any-return,operator]
