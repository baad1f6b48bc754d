"""What a plan cannot read off shapes: published peak rates of devices, and assumptions, which the plan prints.

Rates are data with their sources (``devices.json``); nobody reaches them.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveFloat, TypeAdapter

from unimm.registry import nearest
from unimm.schema import RunConfig

FILE = Path(__file__).with_name("devices.json")
# BLIP3-o's captions (arXiv 2505.09568): 120 tokens on average, one in ten short with 20; a chat template adds some 30.
LONG_CAPTION, SHORT_CAPTION, TEMPLATE = 120, 20, 30
# A question and its answer, beside the image's own tokens; of those the answer, one in five a description.
QUESTION, ANSWER = 24, 10
# AdamW in float32: weight 4, gradient 4, two moments 8, moving average 4 bytes a trained parameter.
WEIGHT, GRADIENT, MOMENTS, AVERAGE = 4, 4, 8, 4
# Autocast keeps a bfloat16 copy of every matrix that a step uses, frozen ones too.
AUTOCAST_COPY = 2
# Float32 values that a decoder layer keeps for its backward pass: so many times its width, plus so many times its
# feed-forward width, for every token (norms, projections, attention without its scores; SwiGLU).
KEPT_WIDTHS, KEPT_FEED_FORWARDS = 12, 4


class Device(BaseModel):
    """One GPU: memory in decimal gigabytes, dense bfloat16 peak in 10^12 FLOPs a second, and the source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    memory_gb: PositiveFloat
    peak_tflops: PositiveFloat
    source: str


@lru_cache(maxsize=1)
def devices() -> dict[str, Device]:
    """All devices by the name that ``--device`` takes."""
    return TypeAdapter(dict[str, Device]).validate_python(json.loads(FILE.read_text(encoding="utf-8")))


def device(name: str) -> Device:
    """The device called ``name``; ValueError with the nearest name otherwise."""
    known = devices()
    if name not in known:
        guess = nearest(name, known)
        hint = f"did you mean {guess!r}? " if guess else ""
        raise ValueError(f"no device {name!r}; {hint}choices: {', '.join(known)}")
    return known[name]


def assumed_prompt(config: RunConfig) -> int:
    """Tokens of an average caption of natural images with a chat template."""
    share = config.data.long_caption_share
    return round(share * LONG_CAPTION + (1 - share) * SHORT_CAPTION) + TEMPLATE
