"""A stand-in for the file of Inception weights, which users bring themselves."""

from __future__ import annotations

from torch import Tensor, nn


class FakeInception(nn.Module):
    """A TorchScript network with the parts that clean-fid calls: 299 x 299 images to 2048 features."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 32, 16, 40), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 64, 2048))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)
