"""One trial of tuning: train an arm once, then choose what needs no training by sampling on validation prompts.

Guidance and the number of sampling steps are the sampler's; for the moving average, one of each offered length is kept
while training. Settings are chosen one after the other, in the order given (`unimm.runs.choice`). The test's images are
never seen; its prompts are other draws, though a small world has only so many texts. A metric such as
``atoms_long/overall`` asks for the validation prompts in that wording, that of the captions an arm is tuned for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unimm.arm import resampled
from unimm.config import flatten
from unimm.devices import device_name
from unimm.evaluation.metric import Evidence
from unimm.evaluation.statistics import clustered_mean
from unimm.evaluation.suite import score_all
from unimm.files import AVERAGES, CHECKPOINT, WEIGHTS, write_json
from unimm.noise import NoiseSource
from unimm.runs.choice import SamplingValues, best_of, choose
from unimm.runs.code import versions
from unimm.runs.outcome import claim
from unimm.runs.run import Run
from unimm.runs.trial_record import TRIAL, TrialRecord, TrialSettings
from unimm.runs.wordings import in_wording
from unimm.scenes.worded_prompts import WORDINGS, worded_prompts
from unimm.schema import RunConfig
from unimm.training.averaging import Averaging, averaging
from unimm.training.callbacks import MovingAverage
from unimm.training.fit import train

DECAY, LENGTH = "training.ema_decay", "training.ema_length"


class AnotherAverage(MovingAverage):
    """An average of another length beside the run's own; saved once, at the last step."""

    def __init__(self, averaging: Averaging, folder: Path, steps: int) -> None:
        super().__init__(averaging, folder, steps, 1)

    @property
    def state_key(self) -> str:
        """Where its state stands in a checkpoint: several of its kind take part in one training."""
        return f"AnotherAverage{self.averaging}"

    @property
    def path(self) -> Path:
        """The finished average."""
        return self.folder / f"average-{self.at[-1]:07d}.safetensors"


def run_trial(settings: TrialSettings, out: Path) -> TrialRecord:
    """Train, choose, record; continues from the last checkpoint in ``out``. ValueError for a wrong configuration."""
    clock = time.monotonic()
    config = RunConfig.model_validate(settings.config)
    run = Run(config, out)
    run.code  # noqa: B018  what is loaded now, whatever is edited while it trains
    assert run.source, "built before the folder is claimed"
    run.check()
    _check_tunable(run, settings.metric)
    with claim(config, out, resume=True, overwrite=False):
        return _claimed(settings, run, clock)


def _check_tunable(run: Run, metric: str) -> None:
    """ValueError where validation prompts or their judge are missing, which a trial would need after training."""
    kinds = {"geneval": ("atoms", "geneval")}.get(run.benchmark.prefix, (run.benchmark.prefix,))
    worded = WORDINGS if run.benchmark.prefix == "geneval" and run.benchmark.knows_prompts else ()
    names = [f"{kind}{end}/overall" for kind in kinds for end in ("", *(f"_{name}" for name in worded))]
    names = names if run.benchmark.judging else []
    if not run.benchmark.validation(1):
        raise ValueError(
            "tuning looks at validation prompts only, and this test has none: set evaluation.validation_prompts=FILE"
        )
    if metric not in names:
        raise ValueError(f"metric: {metric} is no score on this test's prompts; choices: {', '.join(names) or 'none'}")


def _claimed(settings: TrialSettings, run: Run, clock: float) -> TrialRecord:
    """Train and choose in the claimed folder; ``clock`` is when the trial began."""
    config, arm, source, out = run.config, run.arm, run.source, run.folder
    offered = [{key: value} for key in (DECAY, LENGTH) for value in settings.by_sampling.get(key, ())]
    kinds = [_averaging(config, option) for option in offered]
    averages = {kind: AnotherAverage(kind, out / f"{AVERAGES}-{kind}", config.training.steps) for kind in kinds}
    train(config, arm, source, out, run.device, list(averages.values()))
    judge = Judge(run, settings.metric)
    weights = {_averaging(config, {}): out / WEIGHTS} | {kind: kept.path for kind, kept in averages.items()}
    known = flatten(settings.config)
    own = {key: known[key] for key in settings.by_sampling}
    evaluations = choose(lambda tried: judge(tried, weights), own, settings.by_sampling)
    best = best_of(evaluations)
    record = TrialRecord(
        settings=settings,
        chosen=best.settings,
        value=best.value,
        untuned=evaluations[0].value,
        evaluations=evaluations,
        equals=[e.settings for e in evaluations if e is not best and e.value == best.value],
        n=judge.images,
        samples=run.samples,
        seconds=time.monotonic() - clock,
        device=device_name(run.device),
        versions=versions(),
        code=run.code,
    )
    write_json(out / TRIAL, record.model_dump(mode="json"))
    _clear(out)
    return record


def _clear(out: Path) -> None:
    """Delete the weights of a finished trial: nobody samples from it again, and a tuning has many."""
    for path in (*out.glob(CHECKPOINT), *out.glob("*.safetensors"), *out.glob(f"{AVERAGES}*/*.safetensors")):
        path.unlink()


def _averaging(config: RunConfig, settings: SamplingValues) -> Averaging:
    """The average that sampling settings ask for: with one of the two lengths, or else the arm's own."""
    asked = {key.removeprefix("training."): settings.get(key) for key in (DECAY, LENGTH)}
    return averaging(asked if any(value is not None for value in asked.values()) else config.training.model_dump())


@dataclass(frozen=True)
class Looked:
    """A score of images with its standard error, and the items of the parts whose means it is the mean of."""

    value: float | None
    stderr: float | None
    parts: Sequence[Sequence[float | None]]
    texts: Sequence[str]

    def difference_stderr(self, other: Looked) -> float | None:
        """Standard error over prompts of the difference to another look at the same prompts."""
        if not self.parts or len(self.parts) != len(other.parts):
            return None
        pairs = [list(zip(mine, its, strict=True)) for mine, its in zip(self.parts, other.parts, strict=True)]
        differences = [[None if a is None or b is None else a - b for a, b in part] for part in pairs]
        return clustered_mean(differences, self.texts)


class Judge:
    """Scores sampling settings of a trained arm on the validation prompts, with the same noise every time."""

    def __init__(self, run: Run, metric: str) -> None:
        self.run = run
        self.metric, wording = in_wording(metric)
        self.prompts = run.benchmark.validation(run.config.evaluation.curve_prompts)
        if wording:
            worded = worded_prompts(self.prompts, run.arm.foundation.world, wording, "validation")
            self.prompts = [prompt.metadata for prompt in worded]
        self.metrics = run.benchmark.judging

    @property
    def images(self) -> int:
        """How many images a score is taken over."""
        return len(self.prompts)

    def __call__(self, settings: SamplingValues, weights: Mapping[Averaging, Path]) -> Looked:
        """The metric under these settings; ``weights`` are the averages by their length."""
        arm = self.run.weights(weights[_averaging(self.run.config, settings)])
        sampled = {key.removeprefix("objective."): v for key, v in settings.items() if key.startswith("objective.")}
        pipeline = resampled(arm, self.run.config, sampled).pipeline()
        texts, keys = [str(p["prompt"]) for p in self.prompts], [f"tuning {i}" for i in range(self.images)]
        images = pipeline(texts, keys, NoiseSource(0, "tuning"))
        scores = {score.name: score for score in score_all(self.metrics, Evidence(images=images, prompts=self.prompts))}
        found = scores[self.metric]
        return Looked(found.value, found.stderr, [scores[n].items or () for n in found.protocol["mean of"]], texts)
