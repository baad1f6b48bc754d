"""What a metric is: a class that declares the evidence it needs and returns scores, each with how it was measured.

A metric never samples and never loads a model that an arm trained: it reads `Evidence` (images, prompts, answers) and
the foundation's independent parts. The same metric therefore scores a run, its floors and ceilings, and a folder of
images that unimm did not make.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.evaluation.words import BUILT_IN, Words
from unimm.foundation.folder import Foundation
from unimm.scenes.prompts import Metadata
from unimm.scenes.world import Scene

T = TypeVar("T")


class Score(NamedTuple):
    """One number, the number of items it was taken over, how it was measured, and each item's own value if it has one.

    ``value`` is None where nothing could be measured; a None among ``items`` is an item that the score does not
    apply to. ``stderr`` is the standard error over prompts or questions, None where it has no meaning or was not taken.
    ``unit`` is what an item is: ``image``, in the order of the evidence's, or something else, such as ``question``.
    ``library_value`` is what the library named in the protocol returns, where that is another number.
    """

    name: str
    value: float | None
    n: int
    protocol: Mapping[str, Any]
    items: Sequence[float | None] | None = None
    stderr: float | None = None
    unit: str = "image"
    library_value: float | None = None


@dataclass(frozen=True)
class Evidence:
    """What there is to score; a metric names the fields that it needs.

    ``prompts`` (GenEval's metadata) and ``captions`` (texts) have one entry an image. ``reference`` holds real images
    that training never saw, ``training`` some that it saw. ``varied`` holds K images of each of its prompts (prompt,
    image); its key names what differs between them: the noise of the ``latents``, that of the ``decoder``, or
    everything (``seeds``). ``blind_answers`` are those to the same questions as ``answers`` without the image.
    ``long_images`` were drawn from ``long_prompts``, whose wording is a long caption, ``place_images`` from
    ``place_prompts``, worded as placed captions. ``files`` name the images' files, where they come from files.
    """

    images: UInt8[Tensor, "m 3 h w"] | None = None
    prompts: Sequence[Metadata] | None = None
    captions: Sequence[str] | None = None
    reference: UInt8[Tensor, "r 3 s s"] | None = None
    training: UInt8[Tensor, "t 3 s s"] | None = None
    answers: Sequence[Answered] | None = None
    blind_answers: Sequence[Answered] | None = None
    descriptions: Sequence[Described] | None = None
    varied: Mapping[str, UInt8[Tensor, "p k 3 s s"]] | None = None
    varied_prompts: Sequence[Metadata] | None = None
    long_images: UInt8[Tensor, "l 3 s s"] | None = None
    long_prompts: Sequence[Metadata] | None = None
    place_images: UInt8[Tensor, "l 3 s s"] | None = None
    place_prompts: Sequence[Metadata] | None = None
    files: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in ("images", "reference", "training", "long_images", "place_images"):
            images = getattr(self, name)
            if images is not None:
                check_images(images, name)
        if self.captions is None and self.prompts is not None:
            object.__setattr__(self, "captions", [str(prompt["prompt"]) for prompt in self.prompts])
        if self.images is not None and self.captions is not None and len(self.images) != len(self.captions):
            raise ValueError(
                f"{len(self.images)} images for {len(self.captions)} prompts: every prompt needs its image, and an "
                "image that failed counts as wrong instead of being left out"
            )

    @property
    def given(self) -> frozenset[str]:
        """Names of the fields that are there."""
        return frozenset(name for name in self.__dataclass_fields__ if getattr(self, name) is not None)

    def with_shuffled_prompts(self) -> Evidence:
        """Only the images, against prompts of others: the floor of every score that reads prompts."""
        assert self.captions is not None
        return Evidence(
            images=self.images,
            prompts=None if self.prompts is None else _shuffled(self.prompts),
            captions=_shuffled(self.captions),
            long_images=self.long_images,
            long_prompts=None if self.long_prompts is None else _shuffled(self.long_prompts),
            place_images=self.place_images,
            place_prompts=None if self.place_prompts is None else _shuffled(self.place_prompts),
        )


def _shuffled(prompts: Sequence[T]) -> list[T]:
    return [prompts[i] for i in np.random.default_rng(97).permutation(len(prompts)).tolist()]


# What is there of images that are sampled in other ways (`sampling.also`).
OF_SAMPLES = frozenset({"images", "prompts", "captions", "reference", "training"})
OF_SAMPLES |= {"long_images", "long_prompts", "place_images", "place_prompts"}
# Of which evidence floors are taken: the images against other prompts, and answers without the image.
FLOORS = (
    frozenset({"images", "prompts", "captions", "long_images", "long_prompts", "place_images", "place_prompts"}),
    frozenset({"answers", "blind_answers", "descriptions"}),
)


def check_images(images: Tensor, name: str) -> None:
    """Refuse what is not a batch of uint8 RGB images: floats in [0, 1] or [-1, 1] would be scored as black."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"{name} must be uint8 [n, 3, height, width], not {images.dtype} {list(images.shape)}")


class Metric(ABC):
    """Evidence to scores.

    ``needs`` names the fields of `Evidence` without which there is nothing to score; ``words`` maps the names of a
    plug-in's scores to what reports call them. Words of the built-in scores stand in `unimm.evaluation.words`, and
    ``families`` are the first parts of their names (`geneval` of `geneval/overall`). A study is checked against both
    before it runs, so that a plug-in whose scores claims name has words for each of them.
    """

    Config: ClassVar[type[ComponentConfig]]
    needs: ClassVar[frozenset[str]]
    words: Mapping[str, Words] = {}
    families: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def names(cls) -> frozenset[str]:
        """The scores that it may give, as far as ``words`` and ``families`` say; empty where they say nothing."""
        return frozenset({*cls.words, *(name for name in BUILT_IN if name.partition("/")[0] in cls.families)})

    @classmethod
    def has_floor(cls) -> bool:
        """Whether floors are measured of its scores."""
        return any(cls.needs <= given for given in FLOORS)

    @classmethod
    def is_of_samples(cls) -> bool:
        """Whether other ways to sample have its scores too: it needs one image a prompt, and real images."""
        return cls.needs <= OF_SAMPLES

    @abstractmethod
    def __init__(self, config: Any, foundation: Foundation) -> None:
        """``foundation`` offers the judge's world, the feature extractor and the independent evaluators."""

    def objection(self, prompts: Sequence[Metadata] | None, captions: Sequence[str]) -> str | None:
        """Why images of these prompts cannot be scored (words that nothing here knows); None if they can.

        ``prompts`` is None where they are texts alone.
        """
        return None

    @abstractmethod
    def score(self, evidence: Evidence) -> list[Score]:
        """All scores of this metric; called only with evidence that has every field of ``needs``.

        The protocol of a score names every setting that it depends on, so that runs with others are not compared.
        """


class Described(NamedTuple):
    """What the backbone wrote about an image, and the scene that the image shows."""

    text: str
    scene: Scene


class Answered(NamedTuple):
    """The kind of a question, whether the backbone's choice was right, how often a blind guess is, and which image."""

    kind: str
    correct: bool
    chance: float
    image: int
