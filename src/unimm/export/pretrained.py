"""`UnimmPipeline`: an exported model in the manner of a `diffusers` pipeline.

from unimm import UnimmPipeline

pipeline = UnimmPipeline.from_pretrained("DIR").to("cuda")
pipeline("a photo of a red circle", seed=0).images[0].save("circle.png")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from PIL import Image

from unimm.components import Objective
from unimm.export.parts import read_parts, verify_manifest
from unimm.export.sample import draw, picture, product
from unimm.pipeline import Pipeline

T = TypeVar("T", int, float)


class PipelineOutput(NamedTuple):
    """Images prompt by prompt, and the prompt and the seed of each: the same two give the same image again."""

    images: list[Image.Image]
    prompts: list[str]
    seeds: list[int]


class UnimmPipeline:
    """Prompts to images, from an exported model."""

    def __init__(self, parts: Pipeline) -> None:
        self.parts = parts

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> UnimmPipeline:
        """The model in ``folder``, on the CPU, after every file's hash was checked.

        Raises:
            ValueError: the folder holds no exported model, or a file is missing, truncated or altered.
        """
        if not Path(folder).is_dir():
            raise ValueError(f"no folder {folder}: download the model first, then give its folder")
        verify_manifest(Path(folder))
        return cls(read_parts(Path(folder)))

    def to(self, device: str | torch.device) -> UnimmPipeline:
        """Move the model to a device, in place."""
        self.parts.to(torch.device(device))
        return self

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.parts.backbone.queries.device

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        num_images: int | None = None,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        guidance: float | None = None,
        steps: int | None = None,
        batch_size: int = 1,
        num_images_per_prompt: int | None = None,
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
    ) -> PipelineOutput:
        """Images of one prompt or of several.

        Args:
            prompt: What to draw.
            num_images: How many images of every prompt; they take the seeds ``seed``, ``seed + 1``, ...
            seed: The first seed; without it and without ``generator`` a random one, which the output names.
            generator: Draws the first seed, and so moves on; on any device.
            guidance: Overrides the objective's guidance, where it has one.
            steps: Overrides the objective's number of sampler steps, where it has one.
            batch_size: Images drawn at once. More than 1 is faster and rounds differently.
            num_images_per_prompt, guidance_scale, num_inference_steps: What `diffusers` calls ``num_images``,
                ``guidance`` and ``steps``.

        Raises:
            ValueError: a setting under both of its names,
                both ``seed`` and ``generator``, or a setting that the model's objective does not read.
        """
        num_images = _either("num_images", num_images, "num_images_per_prompt", num_images_per_prompt)
        guidance = _either("guidance", guidance, "guidance_scale", guidance_scale)
        steps = _either("steps", steps, "num_inference_steps", num_inference_steps)
        num_images = 1 if num_images is None else num_images
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not prompts or num_images < 1 or batch_size < 1:
            raise ValueError("give at least one prompt, num_images of 1 or more and batch_size of 1 or more")
        first = _first_seed(seed, generator)
        wanted = product(prompts, range(first, first + num_images))
        pixels = draw(self._with(guidance=guidance, steps=steps), wanted, batch_size)
        return PipelineOutput(
            images=[picture(image) for image in pixels],
            prompts=[image.prompt for image in wanted],
            seeds=[image.seed for image in wanted],
        )

    def _with(self, **overrides: Any) -> Pipeline:
        """The pipeline, its objective's settings replaced by the overrides that are not None."""
        given = {name: value for name, value in overrides.items() if value is not None}
        if not given:
            return self.parts
        objective: Any = self.parts.objective
        fields = type(objective.config).model_fields
        for name in given:
            if name not in fields:
                raise ValueError(f"{type(objective).__name__} reads no {name}: leave it out")
        config = type(objective.config).model_validate({**objective.config.model_dump(), **given})
        changed: Objective = type(objective)(config)
        parts = self.parts
        return Pipeline(parts.backbone, parts.head, changed, parts.decoder, parts.spec, parts.decoded_at_once)


def _either(name: str, value: T | None, other: str, same: T | None) -> T | None:
    """A setting that has two names."""
    if value is not None and same is not None:
        raise ValueError(f"{name} and {other} are the same setting: give one of them")
    return same if value is None else value


def _first_seed(seed: int | None, generator: torch.Generator | None) -> int:
    if seed is not None and generator is not None:
        raise ValueError("give seed or generator, not both")
    if seed is not None:
        return seed
    device = "cpu" if generator is None else generator.device
    return int(torch.randint(2**31, (), generator=generator, device=device))
