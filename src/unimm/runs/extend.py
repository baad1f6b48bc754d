"""Lengthening a finished run: `unimm run ARM.yaml training.samples=MORE --resume --extend` goes on from its last step.

That is sound because no step of a training depends on how long it will be. The learning rate is constant after
warm-up; both kinds of average weigh steps by their number alone (`unimm.training.averaging`); order, captions and noise
are functions of seed, step and sample. Only the Q questions of joint training are spread over the S steps, Q s // S of
them by step s, so that their number has to grow with the run. A lengthened run then equals, to the bit, one that was
as long from the beginning. What differs are its snapshots: those of the shorter run stay, and later ones join them.
Questions that open with lists, a share of all (`unimm.pretraining.image_rows`), do depend on the length: refused.

The record goes first, so that a folder with a `result.json` is always finished, whatever is killed when.
"""

from __future__ import annotations

from typing import Any

from unimm.arm import understanding_samples
from unimm.components import Strategy
from unimm.config import differing, dump, read, shown
from unimm.files import CHECKPOINT, write_atomic
from unimm.pretraining.image_rows import opens_with_lists
from unimm.registry import strategies
from unimm.runs.outcome import EXECUTION
from unimm.runs.record import CONFIG, RESULT
from unimm.runs.run import Run
from unimm.schema import RunConfig

LENGTH = frozenset({"training.samples", "strategy.understanding_samples"})


def lengthen(run: Run) -> None:
    """Make the run in the folder an unfinished one of `run`'s length.

    Raises:
        ValueError: there is none, it is not shorter, it is another run, or its questions would be spread otherwise.
    """
    config, folder = run.config, run.folder
    if not (folder / CONFIG).is_file():
        raise ValueError(f"--extend: {folder} holds no run: it has no {CONFIG}; for a new one, leave it out")
    if not (folder / CHECKPOINT).is_file():
        raise ValueError(
            f"--extend: {folder} cannot go on: it has no {CHECKPOINT}, which `unimm clean` deletes; "
            "--overwrite trains it again from its beginning"
        )
    stored = read(folder / CONFIG)
    changes = differing(stored.model_dump(mode="json"), config.model_dump(mode="json"))
    others = [
        f"{c.key} is {shown(c.before)} there and {shown(c.after)} now"
        for c in changes
        if c.key not in LENGTH | EXECUTION
    ]
    if others:
        raise ValueError(f"--extend changes how long a run is, and nothing else: {'; '.join(others)}")
    if config.training.samples <= stored.training.samples:
        raise ValueError(
            f"--extend: {folder} has training.samples={stored.training.samples}: give more, as in "
            f"training.samples={2 * stored.training.samples}"
        )
    _check_questions(run, stored)
    (folder / RESULT).unlink(missing_ok=True)
    write_atomic(folder / CONFIG, dump(config))


def _check_questions(run: Run, stored: RunConfig) -> None:
    """ValueError where a step that was trained would have asked another number of questions in a run of this length."""
    if run.mix.understanding_weight and opens_with_lists(run.arm.backbone, run.arm.foundation.world):
        raise ValueError(
            f"--extend: the questions of {run.folder} open with lists, three tenths of them, which a longer run would "
            "have had more of: train the longer run from its beginning, into another --out"
        )
    kind: Any = strategies.get(stored.strategy.name)  # constructors differ by kind
    strategy: Strategy = kind(stored.strategy.config)
    before, after = (understanding_samples(mix, run.arm.foundation) for mix in (strategy.mix(), run.mix))
    steps, longer = stored.training.steps, run.config.training.steps
    if any(before * step // steps != after * step // longer for step in range(steps + 1)):
        raise ValueError(
            f"--extend: {before} questions are spread over the {steps} steps of {run.folder}, and a longer run "
            f"needs as many a step: set strategy.understanding_samples={before * longer // steps}"
        )
