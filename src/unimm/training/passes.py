"""Which passes a run's model made: kind by kind, how many samples and how long their texts, so that FLOPs can be told.

A step's cost hangs on its texts: captions are all long or all short in one step, and every text is padded to the
longest of its pass. A few steps are therefore no sample of a run. Kept here is, for every kind k of pass, the number of
samples n_k and the sums of their padded lengths and of their answers' lengths; `unimm.runs.cost` counts one pass of
each kind at its mean lengths and weighs by n_k:

    FLOPs = sum_k n_k f_k(mean length_k, mean answer_k)

which leaves out only the curvature of attention over lengths of one kind. A rank keeps its own shares of every step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

GENERATION, UNDERSTANDING = "generation: ", "understanding: "


class Pass(NamedTuple):
    """Samples that passed in one kind of pass, and their mean lengths in tokens: the text as padded, the answer."""

    kind: str
    samples: int
    length: float
    answer: float


class PassLog:
    """Counts passes; its state goes into checkpoints, so that a resumed run counts on.

    A kind is ``generation: `` and the kind of caption, or ``understanding: `` and whether rows are short or long.
    """

    def __init__(self) -> None:
        self._sums: dict[str, list[int]] = {}

    def generation(self, kinds: Sequence[str], length: int) -> None:
        """Captions of these kinds, padded to ``length`` tokens."""
        for kind in kinds:
            self._add(f"{GENERATION}{kind}", 1, length, 0)

    def understanding(self, kind: str, rows: int, length: int, answer: int) -> None:
        """Rows about images, padded to ``length`` tokens, of which logits cover the last ``answer``."""
        self._add(f"{UNDERSTANDING}{kind}", rows, length, answer)

    def _add(self, kind: str, samples: int, length: int, answer: int) -> None:
        sums = self._sums.setdefault(kind, [0, 0, 0])
        for place, value in enumerate((1, length, answer)):
            sums[place] += samples * value

    @property
    def passes(self) -> list[Pass]:
        """Every kind with its means, by name."""
        return [Pass(kind, n, length / n, answer / n) for kind, (n, length, answer) in sorted(self._sums.items())]

    def state(self) -> dict[str, list[int]]:
        """Everything, as JSON could hold it."""
        return {kind: list(sums) for kind, sums in self._sums.items()}

    def restore(self, state: Mapping[str, Sequence[int]]) -> None:
        """Take a `state`."""
        self._sums = {kind: list(sums) for kind, sums in state.items()}
