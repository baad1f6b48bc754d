"""Notices of libraries that a user can do nothing about stay off the terminal; everything else is shown."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Within: no advertisements and device lines of Lightning, none of its notes on how it is used here."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Lightning's own use of torch, and modules that are frozen on purpose.
        warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated")
        warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
        try:
            yield
        finally:
            logger.setLevel(level)
