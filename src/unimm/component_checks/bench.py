"""What every check is: a step that measures one promise of a component and says what it found.

A step returns what it measured, returns a `Doubt` where that is allowed and suspicious, or raises. What a component
raises by itself is a finding too, so every exception ends the checks of that component with its text and its line;
what a check finds broken (`Broken`) does not keep the next ones from running.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from unimm.foundation.folder import Foundation

T = TypeVar("T")
# Of the root mean square of what is compared: kernels for other batch sizes add in another order.
TOLERANCE = 1e-3


class Doubt(str):
    """What is allowed, and probably not what was meant."""


class Broken(Exception):
    """A promise that does not hold; the text says what was found and what to change."""


class Unchecked(Exception):
    """Why the next checks cannot be made, through no fault of the component."""


class Check(NamedTuple):
    """One finding; ``verdict`` is ``ok``, ``doubt`` or ``broken``."""

    name: str
    verdict: str
    found: str


class Subject(NamedTuple):
    """What is checked: the class, its settings, the foundation whose images it sees, and the device."""

    cls: Any
    config: Any
    foundation: Foundation
    device: torch.device


def run_steps(bench: T, steps: Mapping[str, Callable[[T], str]]) -> Iterator[Check]:
    """The findings of the steps, in order, up to one that the component itself ends with an exception."""
    for name, step in steps.items():
        try:
            found = step(bench)
        except Broken as broken:
            yield Check(name, "broken", str(broken))
        except Unchecked as reason:
            yield Check(name, "doubt", str(reason))
            return
        except Exception as error:
            yield Check(name, "broken", f"{_where(error)}{type(error).__name__}: {error}")
            return
        else:
            yield Check(name, "doubt" if isinstance(found, Doubt) else "ok", str(found))


def _where(error: Exception) -> str:
    """The line that raised, in short, where that is not one of unimm's own checks."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return "" if last.filename.endswith("seam_checks.py") else f"{Path(last.filename).name}:{last.lineno}: "


def same(first: Tensor, second: Tensor, what: str) -> str:
    """That two tensors are equal to the bit; `Broken` says by how much ``what`` differs."""
    if first.shape != second.shape or not torch.equal(first, second):
        raise Broken(f"{what}: differs by {_difference(first, second)}")
    return "equal to the bit"


def close(first: Tensor, second: Tensor, what: str) -> str:
    """That two tensors are equal but for rounding; `Broken` says by how much ``what`` differs."""
    difference, size = _difference(first, second), float(first.float().square().mean().sqrt())
    if not difference <= TOLERANCE * max(size, 1e-6):
        raise Broken(f"{what}: differs by {difference:.3g}, where values are about {size:.3g}")
    return f"largest difference {difference:.2g}"


def _difference(first: Tensor, second: Tensor) -> float:
    if first.shape != second.shape:
        raise Broken(f"has shape {list(first.shape)} once and {list(second.shape)} then")
    return float((first.float() - second.float()).abs().max())


def seconds_for(call: Callable[[], Any], device: torch.device) -> float:
    """How long a call takes, the second time."""
    call()
    _wait(device)
    clock = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - clock


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal values, the same ones every time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def keys_for(count: int) -> Sequence[str]:
    """Noise keys of so many samples."""
    return [str(number) for number in range(count)]
