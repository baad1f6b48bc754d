"""Images that were saved the wrong way round: inverted, or with red and blue exchanged.

A bug in somebody's exporter then looks like a bad model. It gives itself away: undoing it makes the colours that the
prompts name right, which chance does not. A model that is merely bad gets them wrong either way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64, UInt8
from torch import Tensor

from unimm.scenes.atoms import atoms
from unimm.scenes.judge import detect
from unimm.scenes.prompts import Metadata
from unimm.scenes.world import World

TRIED, ENOUGH = 64, 8
# Black, white and green survive an exchange of red and blue, so that a gain counts by what there was to gain. One that
# is small in itself, or against its standard error over the images, may be chance.
RELATIVE_GAIN, GAIN, ERRORS = 0.5, 0.3, 2.0
MISTAKES: dict[str, Callable[[Tensor], Tensor]] = {
    "inverted (255 minus the image)": lambda images: 255 - images,
    "with red and blue exchanged": lambda images: images.flip(1),
}


def refuse_inverted(images: UInt8[Tensor, "m 3 h w"], prompts: Sequence[Metadata], world: World) -> None:
    """ValueError if undoing a known mistake makes half or more of the named colours right that were wrong.

    Looks at the first 64 images whose prompt names a colour, and says nothing of fewer than eight.
    """
    named = [i for i, prompt in enumerate(prompts) if any("color" in clause for clause in prompt["include"])][:TRIED]
    if len(named) < ENOUGH:
        return
    some, wanted = images[named], [prompts[i] for i in named]
    as_given = _colours(some, wanted, world)
    for mistake, undo in MISTAKES.items():
        undone = _colours(undo(some), wanted, world)
        if _gives_away(as_given, undone):
            raise ValueError(
                f"the images are {mistake}: {undone.mean():.0%} of the named colours are right once that is undone, "
                f"{as_given.mean():.0%} as they are; save them as RGB from 0 (black) to 255"
            )


def _gives_away(as_given: Float64[np.ndarray, " m"], undone: Float64[np.ndarray, " m"]) -> bool:
    """Whether colours gain so much by undoing that neither chance nor a bad model explains it."""
    gains = undone - as_given
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    return bool(gains.mean() >= max(GAIN, RELATIVE_GAIN * (1 - as_given.mean()), ERRORS * error))


def _colours(images: UInt8[Tensor, "m 3 h w"], prompts: Sequence[Metadata], world: World) -> Float64[np.ndarray, " m"]:
    """Each image's colour atom."""
    arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
    found = (detect(np.ascontiguousarray(image), world) for image in arrays)
    return np.array([atoms(seen, prompt)["colour"] for seen, prompt in zip(found, prompts, strict=True)])
