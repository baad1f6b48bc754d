"""What people see while something works: one line that says what is being done, and a bar where it takes a while.

A bar appears after a second and only for several items, and goes when it is done: what stays on the terminal is lines
that say something. In a log, which no one watches, it is written every ten seconds. Everything goes to stderr, so that
stdout holds results alone.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")
SECONDS, SECONDS_IN_LOG, DELAY = 0.2, 10.0, 1.0


def say(text: str) -> None:
    """A line on stderr, above any bar."""
    tqdm.write(text, file=sys.stderr)


def progress(items: Collection[T], what: str, unit: str) -> Iterator[T]:
    """The items, with a bar named ``what`` that counts them in ``unit``s; none for a single item."""
    yield from tqdm(items, desc=what, unit=unit, **options(len(items)))


def counting(total: int, what: str, unit: str) -> tqdm[Any]:
    """A bar to `update` by hand, which goes when it is closed; it is a context manager."""
    return tqdm(total=total, desc=what, unit=unit, **options(total))


def options(count: int) -> dict[str, Any]:
    """How a bar of ``count`` items behaves."""
    return {"disable": count < 2, "leave": False, "delay": DELAY, "mininterval": interval(), "dynamic_ncols": True}


def interval() -> float:
    """Seconds between two drawings of a bar."""
    return SECONDS if sys.stderr.isatty() else SECONDS_IN_LOG
