"""Images that were saved the wrong way round: inverted, or with red and blue exchanged.

A bug in somebody's exporter then looks like a bad model. It gives itself away: undoing it makes the colours that the
prompts name right, which chance does not. A model that is merely bad gets them wrong either way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from unimm.scenes.atoms import atoms
from unimm.scenes.judge import detect
from unimm.scenes.prompts import Metadata
from unimm.scenes.world import World

TRIED, ENOUGH, GAIN = 64, 8, 0.5
MISTAKES: dict[str, Callable[[Tensor], Tensor]] = {
    "inverted (255 minus the image)": lambda images: 255 - images,
    "with red and blue exchanged": lambda images: images.flip(1),
}


def refuse_inverted(images: UInt8[Tensor, "m 3 h w"], prompts: Sequence[Metadata], world: World) -> None:
    """ValueError if undoing a known mistake makes half or more of the named colours right that were not.

    Looks at the first 64 images whose prompt names a colour, and says nothing of fewer than eight.
    """
    named = [i for i, prompt in enumerate(prompts) if any("color" in clause for clause in prompt["include"])][:TRIED]
    if len(named) < ENOUGH:
        return
    some, wanted = images[named], [prompts[i] for i in named]
    as_given = _colours(some, wanted, world)
    for mistake, undo in MISTAKES.items():
        undone = _colours(undo(some), wanted, world)
        if undone >= as_given + GAIN:
            raise ValueError(
                f"the images are {mistake}: {undone:.0%} of the named colours are right once that is undone, "
                f"{as_given:.0%} as they are; save them as RGB from 0 (black) to 255"
            )


def _colours(images: UInt8[Tensor, "m 3 h w"], prompts: Sequence[Metadata], world: World) -> float:
    """Mean colour atom."""
    arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
    found = (detect(np.ascontiguousarray(image), world) for image in arrays)
    return float(np.mean([atoms(seen, prompt)["colour"] for seen, prompt in zip(found, prompts, strict=True)]))
