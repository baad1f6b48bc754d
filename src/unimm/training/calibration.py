"""The images on which a pretrained encoder's latent statistics are measured: a fixed sample of the run's own.

All of them, or of a larger source the first ``CALIBRATION_IMAGES`` in the order of seed 0, in which the parts of a
mixture have their shares. They do not depend on the run's seed: seeds of one arm train on the same latents.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from unimm.data.source import IndexedSource, Source, Unusable
from unimm.encoders.calibrated import CalibratedEncoder

CALIBRATION_IMAGES = 20_000


class CalibrationImages:
    """A sample of a source's images, with a name that says which."""

    def __init__(self, source: IndexedSource) -> None:
        self.source, self.resolution = source, source.resolution
        self.indices = source.order(0, 0, min(len(source), CALIBRATION_IMAGES)).tolist()
        self.name = f"{source.name}/{len(self.indices)} of order 0"

    def batches(self, size: int) -> Iterator[Tensor]:
        """Images in [0, 1], ``size`` at a time; those that cannot be used are left out."""
        for begin in range(0, len(self.indices), size):
            images = []
            for index in self.indices[begin : begin + size]:
                try:
                    images.append(self.source.image(index).float() / 255)
                except Unusable:
                    continue
            if images:
                yield torch.stack(images)


def calibration_images(source: Source, encoder: CalibratedEncoder) -> CalibrationImages:
    """The sample of ``source``; ValueError where images cannot be looked up twice."""
    if not isinstance(source, IndexedSource):
        raise ValueError(
            f"encoder.standardise measures statistics in two passes, which {source.name} does not allow: set "
            "encoder.standardise=false, or train from local files"
        )
    return CalibrationImages(source)
