"""Score a trained run: sample the test prompts, run the metrics, put floors and ceilings beside every score.

Runs whose metrics ask for it are tested in other wordings too. The learning curve judges every averaged snapshot on
validation prompts. The learning rate is constant after warm-up and snapshots are averages of weights, so that each
point is a finished model at its number of samples (no schedule has to be run out first) and curves of different arms
can be compared.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unimm.analysis.judging import FactCard
from unimm.arm import open_source
from unimm.data.source import IndexedSource, Unusable
from unimm.evaluation.metric import Answered, Evidence, Metric, Score
from unimm.evaluation.suite import own_words, score_all
from unimm.evaluation.words import Words
from unimm.noise import NoiseSource
from unimm.pipeline import Pipeline
from unimm.runs import record
from unimm.runs.ceilings import ceilings
from unimm.runs.run import Run
from unimm.runs.understanding import questioned
from unimm.runs.worded_test import WordedTest, wants
from unimm.scenes.prompts import Metadata
from unimm.schema import EvaluationConfig


@dataclass
class Scored:
    """Scores, floors and ceilings of one run, the judge's card, the evidence, and how long an image took to sample.

    ``keys`` are those of every image's noise; ``words`` are those of plug-ins' scores, ``prefix`` is what the names of
    the first judge's scores begin with; ``judge_cards`` are those of other judges than the scenes', and ``worded`` the
    tests in other wordings.
    """

    scores: list[Score]
    floors: dict[str, list[Score]]
    ceilings: dict[str, record.NamedScores]
    card: record.JudgeCard | None
    answers: list[Answered] | None
    images: Tensor
    prompts: list[Metadata]
    keys: list[str]
    seconds_per_image: float
    words: Mapping[str, Words]
    prefix: str
    left_out: list[str]
    judge_cards: Mapping[str, FactCard]
    evidence: Evidence
    worded: tuple[WordedTest, ...]

    def correct(self) -> list[bool | None]:
        """For each image whether it fulfils its whole prompt by the first judge; None where none could say."""
        by_name = {score.name: score.items for score in self.scores}
        own = [by_name.get(f"{self.prefix}/{prompt['tag']}") for prompt in self.prompts]
        return [None if items is None else bool(items[number]) for number, items in enumerate(own)]

    def as_result(self) -> dict[str, Any]:
        """The scores, floors, ceilings, judge's card and words of result.json."""
        return {
            "scores": [
                record.ScoreRecord(
                    name=s.name,
                    value=s.value,
                    n=s.n,
                    stderr=s.stderr,
                    protocol=record.plain(s.protocol),
                    **({} if s.library_value is None else {"library_value": s.library_value}),
                )
                for s in self.scores
            ],
            "floors": {name: {s.name: s.value for s in scores} for name, scores in self.floors.items()},
            "ceilings": self.ceilings,
            "judge_card": self.card,
            "words": dict(self.words),
            **({"left_out": self.left_out} if self.left_out else {}),
            **({"judge_cards": self.judge_cards} if self.judge_cards else {}),
        }


def score_run(run: Run) -> Scored:
    """Sample, judge, measure. Evaluation noise has its own stream and does not depend on the training seed."""
    arm, test, settings, metrics = run.arm, run.benchmark, run.config.evaluation, run.metrics
    prompts, keys = test.test()
    noise = NoiseSource(0, "evaluation")
    clock = time.monotonic()
    images = arm.pipeline()([p["prompt"] for p in prompts], keys, noise)
    seconds_per_image = (time.monotonic() - clock) / len(images)
    worded = WordedTest.for_metrics(metrics, arm.foundation.world, settings)
    repeated: dict[str, Any] = {}
    if wants(metrics, "varied"):  # these images take longer than the test's own
        repeated = dict(zip(("varied_prompts", "varied"), vary(arm.pipeline(), prompts, settings, noise), strict=True))
    asked = questioned(run)
    training = training_images(run, settings.reference_scenes)
    facts: dict[str, Any] = (
        {"prompts": prompts} if test.has_facts else {"captions": [str(p["prompt"]) for p in prompts]}
    )
    evidence = Evidence(
        images=images,
        **facts,
        training=training,
        reference=test.reference(),
        answers=asked.answers,
        blind_answers=asked.blind_answers,
        descriptions=asked.descriptions,
        **repeated,
    )
    for other in worded:
        evidence = replace(evidence, **other.drawn(arm.pipeline(), noise))
    scores = score_all(metrics, evidence)
    blind = Evidence(
        answers=asked.blind_answers, blind_answers=asked.blind_answers, descriptions=asked.blind_descriptions
    )
    floors = {
        "shuffled_prompts": score_all(metrics, evidence.with_shuffled_prompts()),
        "blind": score_all(metrics, blind),
    }
    limits = ceilings(run, evidence, worded)
    return Scored(
        scores,
        floors,
        limits.scores | all_right(metrics, evidence),
        limits.judge_card,
        asked.answers,
        images,
        prompts,
        keys,
        seconds_per_image,
        own_words(metrics),
        test.prefix,
        test.left_out,
        limits.judge_cards,
        evidence,
        worded,
    )


def all_right(metrics: Sequence[Metric], evidence: Evidence) -> dict[str, record.NamedScores]:
    """The ceiling of answers, were all of them right; empty where none were asked for."""
    if evidence.answers is None:
        return {}
    right = [answer._replace(correct=True) for answer in evidence.answers]
    scores = score_all(metrics, Evidence(answers=right, blind_answers=evidence.blind_answers))
    return {"all_right": {score.name: score.value for score in scores}}


def training_images(run: Run, wanted: int) -> Tensor | None:
    """So many of the run's training images; None where a source cannot look images up, or these are all unusable."""
    config = run.config
    few = min(config.data.train_scenes, wanted)
    small = config.model_copy(update={"data": config.data.model_copy(update={"train_scenes": few})})
    source = open_source(small, run.arm.foundation)
    if not isinstance(source, IndexedSource):
        return None
    images = []
    for index in source.order(0, 0, min(len(source), wanted)).tolist():
        with suppress(Unusable):
            images.append(source.image(index))
    return torch.stack(images) if images else None


def vary(
    pipeline: Pipeline, prompts: list[Metadata], settings: EvaluationConfig, noise: NoiseSource
) -> tuple[list[Metadata], dict[str, Tensor]]:
    """K images each of a few prompts of every task, with only the latents' or only the decoder's noise changing."""
    chosen: list[Metadata] = []
    for tag in dict.fromkeys(p["tag"] for p in prompts):
        distinct = {p["prompt"]: p for p in prompts if p["tag"] == tag}
        chosen += list(distinct.values())[: settings.diversity_prompts]
    images: dict[str, list[Tensor]] = {"latents": [], "decoder": []}
    for number, prompt in enumerate(chosen):
        keys = [f"varied {number}/{k}" for k in range(settings.diversity_images)]
        latents = pipeline.latents([str(prompt["prompt"])] * len(keys), keys, noise)
        images["latents"].append(pipeline.decoded(latents, keys[:1] * len(keys), noise))
        images["decoder"].append(pipeline.decoded(latents[:1].expand_as(latents), keys, noise))
    return chosen, {name: torch.stack(shown) for name, shown in images.items()}


def learning_curve(run: Run) -> list[record.CurvePoint]:
    """Scores of each snapshot, in order of samples; leaves the final weights in the arm.

    Empty where there are no validation prompts.
    """
    batch, prompts = run.config.training.batch_size, run.benchmark.validation(run.config.evaluation.curve_prompts)
    keys = [f"validation {number}" for number in range(len(prompts))]
    points = []
    for step, file in run.snapshots() if prompts else ():
        images = run.weights(file).pipeline()([str(p["prompt"]) for p in prompts], keys, NoiseSource(0, "evaluation"))
        shown = Evidence(images=images, prompts=prompts)
        scores = {score.name: score.value for score in score_all(run.benchmark.judging, shown)}
        points.append(record.CurvePoint(step=step, samples=step * batch, n=len(images), scores=scores))
    run.weights()
    return points
