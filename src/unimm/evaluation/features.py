"""The feature extractor of offline Fréchet distances: a small convolutional net trained on what is in an image.

No arm trains against it. 64 channels keep the covariance well estimated from the few hundred images of a quick
protocol (evaluation.md 2.5: N >= 10 d).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unimm.foundation.folder import Foundation
from unimm.scenes.stream import SceneSample
from unimm.scenes.world import World


class FeatureExtractor(nn.Module):
    """Images in [0, 1] to features ``[B, width]`` in float32; always in evaluation mode once frozen."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.num_features = width

        def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(4, outputs), nn.SiLU(inplace=True)
            )

        self.trunk = nn.Sequential(
            nn.PixelUnshuffle(2),
            block(12, 32, 1),
            block(32, 48, 2),
            block(48, 64, 1),
            block(64, 64, 2),
            block(64, 64, 1),
        )
        self.project = nn.Linear(64 * 16, width)
        self.classifier = nn.Linear(width, classes)

    @classmethod
    def of(cls, foundation: Foundation) -> FeatureExtractor:
        """The foundation's, frozen."""
        model = cls(**foundation.settings("features/config.json"))
        model.load_state_dict(foundation.weights("features/model.safetensors"))
        return model.eval().requires_grad_(False)

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        hidden = nn.functional.adaptive_avg_pool2d(self.trunk(images * 2 - 1), 4)
        return self.project(hidden.flatten(1))  # type: ignore[no-any-return]

    def classify(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c"]:
        """Logits of the training task."""
        return self.classifier(nn.functional.silu(self(images)))  # type: ignore[no-any-return]


def labels(samples: Sequence[SceneSample], world: World) -> Float[Tensor, "n c"]:
    """Per sample: which shapes and which colours stand in each quadrant, and one flag for each number of items."""
    quadrants, shapes, colours = 4, len(world.shapes), len(world.colours)
    out = torch.zeros(len(samples), quadrants * (shapes + colours) + world.max_items)
    for row, sample in zip(out, samples, strict=True):
        for item in sample.scene.items:
            base = (int(item.x >= 0.5) + 2 * int(item.y >= 0.5)) * (shapes + colours)
            row[base + world.shapes.index(item.shape)] = 1
            row[base + shapes + world.colours.index(item.colour)] = 1
        row[quadrants * (shapes + colours) + len(sample.scene.items) - 1] = 1
    return out
