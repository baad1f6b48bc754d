"""Images saved the wrong way round are told from those of a bad model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from unimm.evaluation.metrics.geneval import refuse_inverted
from unimm.scenes.prompts import Metadata, prompt_set
from unimm.scenes.render import render
from unimm.scenes.stream import compose
from unimm.scenes.world import Item, Scene, World, world


def named(domain: World) -> list[Metadata]:
    """Every prompt that names a colour, as often as it is drawn."""
    return [p for p in prompt_set(domain, "test", 40) if any("color" in clause for clause in p["include"])]


def composed(prompt: Metadata, domain: World, rng: np.random.Generator) -> Scene:
    while (scene := compose(prompt, domain, rng)) is None:
        pass
    return scene


def drawn(scenes: list[Scene]) -> Tensor:
    return torch.from_numpy(np.stack([render(scene, 64) for scene in scenes])).permute(0, 3, 1, 2).contiguous()


def repainted(scene: Scene, domain: World, rng: np.random.Generator) -> Scene:
    """The scene by a model whose colours are right 30 % of the time, and any other colour else."""

    def painted(item: Item) -> Item:
        others = [colour for colour in domain.colours if colour != item.colour]
        return item if rng.random() < 0.3 else replace(item, colour=str(rng.choice(others)))

    return replace(scene, items=tuple(map(painted, scene.items)))


@pytest.mark.parametrize("name", ["scenes-nano", "scenes"])
@pytest.mark.parametrize(
    ("spoil", "message"), [(lambda images: 255 - images, "are inverted"), (lambda i: i.flip(1), "red and blue")]
)
def test_clean_renders_saved_the_wrong_way_round_are_refused(name, spoil, message) -> None:
    domain, rng = world(name), np.random.default_rng(0)
    prompts = named(domain)
    images = drawn([composed(prompt, domain, rng) for prompt in prompts])
    refuse_inverted(images, prompts, domain)
    with pytest.raises(ValueError, match=message):
        refuse_inverted(spoil(images), prompts, domain)


@pytest.mark.parametrize("name", ["scenes-nano", "scenes"])
def test_a_model_with_wrong_colours_is_not_refused_however_few_images(name) -> None:
    domain, rng = world(name), np.random.default_rng(1)
    prompts = named(domain)
    images = drawn([repainted(composed(prompt, domain, rng), domain, rng) for prompt in prompts])
    refuse_inverted(images, prompts, domain)
    for begin in range(0, len(prompts) - 8, 8):
        refuse_inverted(images[begin : begin + 8], prompts[begin : begin + 8], domain)
