"""One run from start to finish: prepare the folder, train, check invariants, score, write ``result.json``.

The truth of a run is its folder; ``result.json`` is written last, so a folder without it is unfinished. Where several
ranks train, the first one alone writes files, and scores when the others have left.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from unimm.arm_words import phrases
from unimm.components import parameter_count
from unimm.files import METRICS
from unimm.progress import say
from unimm.runs.code import versions
from unimm.runs.conditions import check_conditions, with_conditions
from unimm.runs.cost import completed, efficiency, resolution_scaling
from unimm.runs.extend import lengthen
from unimm.runs.outcome import claim, counts, describe, save_gallery, save_grid, save_items
from unimm.runs.preflight import doubts
from unimm.runs.record import Data, Efficiency, Invariants, Parameters, Result, Speed, write_result
from unimm.runs.run import Run
from unimm.runs.scoring import learning_curve, score_run
from unimm.runs.understanding import Probe, before_training, check_frozen, is_frozen, probe, retained
from unimm.schema import RunConfig
from unimm.training import data_card
from unimm.training.callbacks import JsonLines
from unimm.training.data_card import DataCard
from unimm.training.distributed import Ranks, join
from unimm.training.fit import train
from unimm.training.trackers import Tracker, chosen


class Earlier(NamedTuple):
    """What was found before scoring: the backbone as it was before training, and ``efficiency`` so far."""

    before: Probe | None
    spent: Efficiency


def run(
    config: RunConfig,
    out: Path,
    resume: bool = False,
    overwrite: bool = False,
    extend: bool = False,
    track: Sequence[str] = (),
    world: Ranks | None = None,
) -> Result:
    """Train, sample and score one arm without stages; returns, on the first rank, what ``result.json`` holds.

    With ``extend``, a shorter run in the folder goes on to this length (`unimm.runs.extend`); ``track`` names trackers
    that watch (`unimm.training.trackers`); ``world`` are ranks that have met already, as those of several stages have.

    Raises:
        SystemExit: on the other ranks, when nothing is left to do for them.
        Interrupted: a signal stopped training; the checkpoint is written.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    trackers = [tracker(config, out) for tracker in chosen(track)]
    this = Run(config, out)
    this.code  # noqa: B018  what is loaded now, whatever is edited while it trains
    world = world or join(this.device)
    if world.first:
        say(f"loading {config.foundation}, encoder {config.encoder.name}, backbone {config.backbone.name}")
        if trackers:
            say("losses of other encoders or objectives are in other units: their curves do not compare, scores do")
    world.in_turns(lambda: (this.arm, this.source))
    with ExitStack() as claimed:
        with world.together():
            if world.first:
                this.check()
                check_conditions(this)
                for doubt in doubts(this):
                    say(f"warning: {doubt}")
                if extend:
                    lengthen(this)
                claimed.enter_context(claim(config, out, resume, overwrite))
        return _claimed(this, world, started, clock, trackers)


def _claimed(this: Run, world: Ranks, started: datetime, clock: float, trackers: Sequence[Tracker]) -> Result:
    """Train and score in the claimed folder; ``clock`` is when the run began."""
    config, arm, source, out = this.config, this.arm, this.source, this.folder
    this.start()
    with world.together():
        before = before_training(this) if world.first else None
    module, log = train(config, arm, source, out, this.device, world=world, trackers=trackers)
    say("sampling and scoring")
    this.weights()
    unchanged = check_frozen(before, probe(this)) if before and is_frozen(this) else None
    prompts = [str(p["prompt"]) for p in this.benchmark.validation(1) or this.benchmark.test()[0]]
    spent = efficiency(module, arm.pipeline(), prompts, log.peak_memory)
    scoring = time.monotonic()
    measured = measure(this, Earlier(before, spent))
    score_seconds = time.monotonic() - scoring
    visited = DataCard.summary(out / data_card.FILE)
    result = Result(
        **describe(this, started),
        **measured,
        counts=counts(this),
        parameters=Parameters(trainable=parameter_count(module, True), frozen=parameter_count(module, False)),
        speed=_speed(log, this.samples, score_seconds, time.monotonic() - clock),
        resolution_scaling=resolution_scaling(this),
        invariants=Invariants(backbone_unchanged=unchanged),
        data=None if visited is None else Data(**visited),
        versions=versions(),
        phrases=phrases(config.model_dump(mode="json")),
        code=this.code,
        config=config.model_dump(mode="json"),
    )
    write_result(result, out)
    return result


def _speed(log: JsonLines, samples: int, score_seconds: float, wall_seconds: float) -> Speed:
    seconds = max(log.seconds, 1e-9)
    return Speed(
        samples_per_second=samples / seconds,
        train_seconds=log.seconds,
        score_seconds=score_seconds,
        wall_seconds=wall_seconds,
        data_wait_fraction=log.waited / seconds,
    )


def measure(run: Run, earlier: Earlier) -> dict[str, Any]:
    """All of the result that takes sampling: scores, retention, learning curve, and what only they tell of costs.

    Samples and scores the trained arm and its snapshots; writes the images and every item's score.
    """
    scored = with_conditions(run, score_run(run))
    save_grid(scored, run.folder)
    save_gallery(scored, run.arm.foundation.world, run.folder)
    save_items(scored, run.folder)
    curve = learning_curve(run)
    return {
        **scored.as_result(),
        "retention": retained(run, earlier.before, scored.answers),
        "curve": curve,
        "efficiency": completed(earlier.spent, scored.seconds_per_image, curve, run.folder / METRICS),
    }


def score(folder: Path) -> Result:
    """Score a finished run without stages again from its saved weights, under the same protocol."""
    run = Run.finished(folder)
    run.code  # noqa: B018  as for a run that trains
    result = run.result
    if result.efficiency is None:
        raise ValueError(f"{folder} was written before runs noted their costs: run the arm again with --overwrite")
    run.check()
    check_conditions(run)
    run.start()
    before = before_training(run)
    run.weights()
    measured = measure(run, Earlier(before, result.efficiency))
    result = result.model_copy(update=measured | {"scored_by": run.code})
    write_result(result, folder)
    return result
