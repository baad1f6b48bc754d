"""What a frozen language model computes of prompts that come again and again, computed once and kept on disk.

A causal pass over a prompt is known by its keys and values, as they do not depend on what follows. Training on scenes
asks for fewer than two thousand different short captions tens of thousands of times: their keys and values are looked
up, and only the queries run. The file lies beside the latent cache, under a hash of weights, prompts and form, so that
seeds, arms and workers share it; it is read through the page cache (`mmap`), not into memory.

What stands in it depends on nothing but the prompts: they are sorted, run in groups of equal length without padding,
and what all of them begin with (a template's first words) runs once. So a resumed run reads what the first one read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from unimm.files import cache_folder, written
from unimm.progress import counting

AT_ONCE = 64
KEPT_BYTES = 1 << 31

# (ids, states of what stands before them) to the states of both, [layers, 2, b, heads, l, d]: keys, then values.
Run = Callable[[Int[Tensor, "b l"], Float[Tensor, "layers 2 b heads p d"] | None], Tensor]


class PromptStates(NamedTuple):
    """Keys and values by token, ``[tokens, layers, 2, heads, d]``, and which of them each prompt has, in order."""

    states: Float[Tensor, "tokens layers 2 heads d"]
    rows: dict[tuple[int, ...], range]
    shared: int

    def batch(self, prompts: Sequence[Sequence[int]]) -> Float[Tensor, "layers 2 b heads l d"] | None:
        """States of a left-padded batch, or None where one of the prompts is not among them."""
        found = [self.rows.get(tuple(prompt)) for prompt in prompts]
        own = [rows for rows in found if rows is not None]
        if len(own) < len(found):
            return None
        longest = max(map(len, own))
        # Padding repeats a token's states, which the mask hides.
        places = torch.tensor([[0] * (longest - len(rows)) + [*range(self.shared), *rows] for rows in own])
        return self.states[places].permute(2, 3, 0, 4, 1, 5).contiguous()


def prompt_states(name: str, prompts: Sequence[Sequence[int]], run: Run, token_bytes: int) -> PromptStates | None:
    """The states of distinct prompts, from the cache or computed with a progress bar; None where they are too many.

    ``name`` identifies the weights; ``token_bytes`` is what the states of one token take.

    Raises:
        ValueError: the file in the cache is cut short or was altered.
    """
    ordered = sorted({tuple(prompt) for prompt in prompts}, key=lambda prompt: (len(prompt), prompt))
    shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*ordered, strict=False)))
    shared = min(shared, len(ordered[0]) - 1)
    rows, begin = {}, shared
    for prompt in ordered:
        rows[prompt] = range(begin, begin + len(prompt) - shared)
        begin = rows[prompt].stop
    if begin * token_bytes > KEPT_BYTES:
        return None
    key = hashlib.sha256(f"{name}/{ordered}".encode()).hexdigest()[:24]
    path = cache_folder() / f"prompts-{key}.safetensors"
    if not path.exists():
        _write(path, torch.cat(list(_computed(ordered, shared, run))))
    return PromptStates(_read(path), rows, shared)


def _computed(ordered: list[tuple[int, ...]], shared: int, run: Run) -> Iterator[Float[Tensor, "tokens l 2 heads d"]]:
    """States by token: of what the prompts share, then of the rest of each."""
    before = run(torch.tensor([ordered[0][:shared]]), None) if shared else None
    if before is not None:
        yield _by_token(before)
    with counting(len(ordered), "reading prompts", "prompt") as bar:
        for _, group in groupby(ordered, len):
            ids = torch.tensor([prompt[shared:] for prompt in group])
            for part in ids.split(AT_ONCE):
                past = None if before is None else before.expand(-1, -1, len(part), -1, -1, -1)
                yield _by_token(run(part, past)[..., shared:, :])
                bar.update(len(part))


def _by_token(states: Float[Tensor, "layers 2 b heads l d"]) -> Float[Tensor, "tokens layers 2 heads d"]:
    return states.permute(2, 4, 0, 1, 3, 5).flatten(0, 1).cpu()


def _write(path: Path, states: Tensor) -> None:
    with written(path, shared=True) as temporary:
        save_file({"states": states.contiguous(), "digest": _digest(states)}, temporary)


def _digest(states: Tensor) -> Tensor:
    content: Any = states.contiguous().view(torch.uint8).numpy()
    return torch.tensor(list(hashlib.sha256(content).digest()), dtype=torch.uint8)


def _read(path: Path) -> Tensor:
    try:
        values = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated ({error}); delete the file to have it computed again") from error
    if not torch.equal(_digest(values["states"]), values["digest"]):
        raise ValueError(f"{path} was altered (its hash differs); delete the file to have it computed again")
    return values["states"]
