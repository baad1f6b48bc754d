"""Weights through ``transformers``, whole or not at all: the library would fill gaps with random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

SHOWN = 5


@contextmanager
def reading(source: str) -> Iterator[None]:
    """Turn the errors of reading a checkpoint into a ValueError that says what is expected."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ValueError(
            f"cannot read a checkpoint from {source}: give a folder that the model's and its processor's "
            f"save_pretrained wrote, or a Hugging Face id that this machine can reach ({error})"
        ) from error


def load_pretrained(model_class: Any, source: str, device: torch.device) -> Any:
    """The frozen model of a local folder or Hugging Face id in float32.

    Raises ValueError when it cannot be read, or when weights are missing or of another shape.
    """
    with reading(source):
        model, report = model_class.from_pretrained(
            source, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    mismatched = [key for key, *_ in report["mismatched_keys"]]
    absent = sorted([*report["missing_keys"], *mismatched])
    if absent:
        raise ValueError(
            f"{source} lacks {len(absent)} weights of {model_class.__name__} ({', '.join(absent[:SHOWN])}, ...): "
            f"give a complete checkpoint of this model"
        )
    return model.eval().requires_grad_(False).to(device)
