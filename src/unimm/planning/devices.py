"""Published peak rates of devices, as data with their sources (``devices.json``); nobody reaches them."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveFloat, TypeAdapter

from unimm.registry import nearest

FILE = Path(__file__).with_name("devices.json")


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
