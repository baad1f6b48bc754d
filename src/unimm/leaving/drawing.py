"""One image for a prompt and a seed, always the same one.

The noise is keyed by (prompt, seed) and, unless asked otherwise, images are drawn one at a time: in a batch, padding
and matrix shapes change the rounding, so that a pixel could depend on its neighbours.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import UInt8
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from unimm.generation.pipeline import Pipeline
from unimm.noise import NoiseSource

NOISE = NoiseSource(0, "drawing")


class Wanted(NamedTuple):
    """An image that somebody asked for."""

    prompt: str
    seed: int

    @property
    def key(self) -> str:
        """What the noise depends on."""
        return f"{self.seed} {self.prompt}"

    @property
    def file(self) -> str:
        """A file name that depends on prompt and seed alone; the digest tells prompts apart that spell alike."""
        words = re.sub(r"[^a-z0-9]+", "-", self.prompt.lower()).strip("-")[:60].rstrip("-")
        digest = hashlib.sha256(self.prompt.encode()).hexdigest()[:6]
        return f"{words}-{digest}-seed{self.seed}.png".lstrip("-")


def product(prompts: Sequence[str], seeds: Sequence[int]) -> list[Wanted]:
    """Every prompt with every seed, a prompt's seeds together."""
    return [Wanted(prompt, seed) for prompt in prompts for seed in seeds]


def draw(pipeline: Pipeline, wanted: Sequence[Wanted], batch: int = 1) -> UInt8[Tensor, "m 3 s s"]:
    """The images as bytes; with ``batch`` 1 each is the same whatever else is wanted."""
    return pipeline([image.prompt for image in wanted], [image.key for image in wanted], NOISE, batch)


def unknown_words(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[str]:
    """Words that the tokenizer can only read as its unknown token, in order; none for byte-level vocabularies."""
    unknown = tokenizer.unk_token_id
    if unknown is None:
        return []
    return [word for word in prompt.split() if unknown in tokenizer(word, add_special_tokens=False)["input_ids"]]
