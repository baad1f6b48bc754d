"""One trial of tuning: train an arm once, then choose what needs no training by sampling on validation prompts.

Guidance and the number of sampling steps are the sampler's; for the decay of the moving average, one average with each
decay is kept while training. Settings are chosen one after the other, in the order given, each with the best of those
before it: a full grid would cost the product of their numbers. The test's images are never seen;
its prompts are other draws, though a small world has only so many texts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unimm.devices import device_name
from unimm.evaluation.metric import Evidence
from unimm.evaluation.suite import build_metrics, score_all
from unimm.files import AVERAGES, CHECKPOINT, WEIGHTS, write_json
from unimm.noise import NoiseSource
from unimm.registry import objectives
from unimm.runs.outcome import prepare
from unimm.runs.record import TRIAL, Evaluation, TrialRecord, TrialSettings, Value
from unimm.runs.run import Run
from unimm.scenes.prompts import prompt_set
from unimm.schema import RunConfig
from unimm.training.callbacks import MovingAverage
from unimm.training.fit import train

DECAY = "training.ema_decay"
SamplingValues = dict[str, Value]
Evaluate = Callable[[SamplingValues], float | None]


class AnotherAverage(MovingAverage):
    """An average with another decay beside the run's own; saved once, at the last step."""

    def __init__(self, decay: float, folder: Path, steps: int) -> None:
        super().__init__(decay, folder, steps, 1)

    @property
    def state_key(self) -> str:
        """Where its state stands in a checkpoint: several of its kind take part in one training."""
        return f"AnotherAverage{self.decay}"

    @property
    def path(self) -> Path:
        """The finished average."""
        return self.folder / f"average-{self.at[-1]:07d}.safetensors"


def run_trial(settings: TrialSettings, out: Path) -> TrialRecord:
    """Train, choose, record; continues from the last checkpoint in ``out``. ValueError for a wrong configuration."""
    clock = time.monotonic()
    config = RunConfig.model_validate(settings.config)
    run = Run(config, out)
    arm, source = run.arm, run.source
    prepare(config, out, resume=True, overwrite=False)
    decays = [float(value) for value in settings.by_sampling.get(DECAY, ()) if isinstance(value, int | float)]
    averages = {d: AnotherAverage(d, out / f"{AVERAGES}-{d:g}", config.training.steps) for d in decays}
    train(config, arm, source, out, run.device, list(averages.values()))
    judge = Judge(run, settings.metric)
    weights = {config.training.ema_decay: out / WEIGHTS} | {d: kept.path for d, kept in averages.items()}
    own = {key: _own(config, key) for key in settings.by_sampling}
    evaluations = choose(lambda tried: judge(tried, weights), own, settings.by_sampling)
    best = max(evaluations, key=_rank)
    record = TrialRecord(
        settings=settings,
        chosen=best.settings,
        value=best.value,
        untuned=evaluations[0].value,
        evaluations=evaluations,
        n=judge.images,
        samples=run.samples,
        seconds=time.monotonic() - clock,
        device=device_name(run.device),
        versions={name: version(name) for name in ("torch", "lightning", "unimm")},
    )
    write_json(out / TRIAL, record.model_dump(mode="json"))
    _clear(out)
    return record


def _clear(out: Path) -> None:
    """Delete the weights of a finished trial: nobody samples from it again, and a tuning has many."""
    for path in (*out.glob(CHECKPOINT), *out.glob("*.safetensors"), *out.glob(f"{AVERAGES}*/*.safetensors")):
        path.unlink()


def choose(evaluate: Evaluate, own: SamplingValues, options: Mapping[str, Sequence[Value]]) -> list[Evaluation]:
    """Every evaluation, the arm's own settings first; one setting after the other, and a tie keeps what was first."""
    found = [Evaluation(settings=own, value=evaluate(own))]
    for key, values in options.items():
        best = max(found, key=_rank).settings
        for value in values:
            tried = {**best, key: value}
            if all(tried != evaluation.settings for evaluation in found):
                found.append(Evaluation(settings=tried, value=evaluate(tried)))
    return found


def _rank(evaluation: Evaluation) -> float:
    return -1.0 if evaluation.value is None else evaluation.value


def _own(config: RunConfig, key: str) -> Any:
    """The configuration's own value of a dotted key."""
    value: Any = config.model_dump(mode="json")
    for part in key.split("."):
        value = value[part]
    return value


class Judge:
    """Scores sampling settings of a trained arm on the validation prompts, with the same noise every time."""

    def __init__(self, run: Run, metric: str) -> None:
        self.run, self.metric = run, metric
        foundation = run.arm.foundation
        self.prompts = prompt_set(foundation.world, "validation", run.config.evaluation.curve_prompts)
        self.metrics = build_metrics(("geneval",), foundation)

    @property
    def images(self) -> int:
        """How many images a score is taken over."""
        return len(self.prompts)

    def __call__(self, settings: SamplingValues, weights: Mapping[float, Path]) -> float | None:
        """The metric under these settings; ``weights`` are the averages by their decay."""
        decay = settings.get(DECAY, self.run.config.training.ema_decay)
        assert isinstance(decay, int | float)
        arm = self.run.weights(weights[float(decay)])
        sampled = {key.removeprefix("objective."): v for key, v in settings.items() if key.startswith("objective.")}
        kind: Any = objectives.get(self.run.config.objective.name)
        own = self.run.config.objective.config.model_dump()
        objective = kind(kind.Config.model_validate({**own, **sampled}))
        pipeline = replace(arm, objective=objective).pipeline()
        texts, keys = [str(p["prompt"]) for p in self.prompts], [f"tuning {i}" for i in range(self.images)]
        images = pipeline(texts, keys, NoiseSource(0, "tuning"))
        scores = score_all(self.metrics, Evidence(images=images, prompts=self.prompts))
        return {score.name: score.value for score in scores}[self.metric]
