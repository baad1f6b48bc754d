"""Score a trained run: sample the test prompts, run the metrics, put floors and ceilings beside every score.

Runs whose metrics ask for it are tested in other wordings too. The learning curve judges every averaged snapshot on
validation prompts. The learning rate is constant after warm-up and snapshots are averages of weights, so that each
point is a finished model at its number of samples (no schedule has to be run out first) and curves of different arms
can be compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from unimm.analysis.judging import FactCard
from unimm.arm import open_source
from unimm.components import Decoder, Encoder
from unimm.data.cache import at_once
from unimm.data.source import IndexedSource, Unusable
from unimm.evaluation.judge_card import View, judge_card
from unimm.evaluation.judge_card import as_result as card_as_result
from unimm.evaluation.metric import Answered, Evidence, Metric, Score
from unimm.evaluation.suite import own_words, score_all
from unimm.evaluation.words import Words
from unimm.noise import NoiseSource
from unimm.pipeline import Pipeline, to_uint8
from unimm.progress import progress
from unimm.runs import record
from unimm.runs.run import Run
from unimm.runs.understanding import questioned
from unimm.scenes.prompts import Metadata, prompt_set
from unimm.scenes.render import render
from unimm.scenes.stream import compose
from unimm.scenes.worded_prompts import WORDINGS, WordedPrompt, worded_prompts
from unimm.scenes.world import Scene, World
from unimm.schema import EvaluationConfig

TRIES = 1000


@dataclass(frozen=True)
class WordedTest:
    """Prompts in another wording, one an image, in the order of the six tasks' short ones."""

    wording: str
    asked: Sequence[WordedPrompt]
    keys: Sequence[str]

    @classmethod
    def for_metrics(cls, metrics: Sequence[Metric], world: World, settings: EvaluationConfig) -> tuple[WordedTest, ...]:
        """Those of the wordings that metrics ask for: as many images of every prompt as of its short one, from the
        same noise."""
        wanted = [name for name in WORDINGS if _wants(metrics, f"{name}_images")]
        return tuple(cls._of(name, world, settings) for name in wanted)

    @classmethod
    def _of(cls, wording: str, world: World, settings: EvaluationConfig) -> WordedTest:
        prompts = worded_prompts(prompt_set(world, "test", settings.prompts_per_task), world, wording)
        pairs = [(n, prompt, image) for n, prompt in enumerate(prompts) for image in range(settings.images_per_prompt)]
        return cls(wording, [prompt for _, prompt, _ in pairs], [f"{n}/{image}" for n, _, image in pairs])

    def drawn(self, pipeline: Pipeline, noise: NoiseSource) -> dict[str, Any]:
        """The fields of `Evidence` that the arm's own images fill."""
        return self._fields(pipeline([str(prompt.metadata["prompt"]) for prompt in self.asked], self.keys, noise))

    def real(self, shown: Callable[[list[Scene]], dict[str, Tensor]]) -> dict[str, dict[str, Any]]:
        """The same fields for every kind of real images that ``shown`` makes of the described scenes."""
        return {name: self._fields(kind) for name, kind in shown([prompt.scene for prompt in self.asked]).items()}

    def _fields(self, images: Tensor) -> dict[str, Any]:
        return {
            f"{self.wording}_images": images,
            f"{self.wording}_prompts": [prompt.metadata for prompt in self.asked],
        }


@dataclass
class Scored:
    """Scores, floors and ceilings of one run, the judge's card, the evidence, and how long an image took to sample.

    ``keys`` are those of every image's noise; ``words`` are those of plug-ins' scores, ``prefix`` is what the names of
    the first judge's scores begin with; ``judge_cards`` are those of other judges than the scenes', and ``worded`` the
    tests in other wordings.
    """

    scores: list[Score]
    floors: dict[str, list[Score]]
    ceilings: dict[str, list[Score]]
    card: dict[str, View] | None
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
            "ceilings": {name: {s.name: s.value for s in scores} for name, scores in self.ceilings.items()},
            "judge_card": None if self.card is None else record.JudgeCard.model_validate(card_as_result(self.card)),
            "words": dict(self.words),
            **({"left_out": self.left_out} if self.left_out else {}),
            **({"judge_cards": self.judge_cards} if self.judge_cards else {}),
        }


def _wants(metrics: Sequence[Metric], field: str) -> bool:
    """Whether a metric needs that field of the evidence, which costs images of its own."""
    return any(field in metric.needs for metric in metrics)


def score_run(run: Run) -> Scored:
    """Sample, judge, measure. Evaluation noise has its own stream and does not depend on the training seed."""
    arm, test, settings, metrics = run.arm, run.benchmark, run.config.evaluation, run.metrics
    prompts, keys = test.test()
    noise = NoiseSource(0, "evaluation")
    clock = time.monotonic()
    images = arm.pipeline()([p["prompt"] for p in prompts], keys, noise)
    seconds_per_image = (time.monotonic() - clock) / len(images)
    worded = WordedTest.for_metrics(metrics, arm.foundation.world, settings)
    several = vary(arm.pipeline(), prompts, settings, noise) if _wants(metrics, "varied") else (None, None)
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
        varied_prompts=several[0],
        varied=several[1],
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
    scenes = real_scenes(prompts, arm.foundation.world) if test.knows_prompts else None
    return Scored(
        scores,
        floors,
        *ceilings(run, evidence, scenes, worded),
        asked.answers,
        images,
        prompts,
        keys,
        seconds_per_image,
        own_words(metrics),
        test.prefix,
        test.left_out,
        test.cards(),
        evidence,
        worded,
    )


def ceilings(
    run: Run, evidence: Evidence, scenes: list[Scene] | None, worded: Sequence[WordedTest]
) -> tuple[dict[str, list[Score]], dict[str, View] | None]:
    """What real images get, as they are and through encoder and decoder; and the scenes' judge's card on them.

    Real images are ``scenes`` that fulfil the prompts. Where the world has none, they are training images, which
    follow no prompt and are held against the reference alone.
    """
    metrics = run.metrics
    known: dict[str, Any] = {"reference": evidence.reference, "training": evidence.training}
    card = None
    if scenes is not None:
        real = shown_as(run, rendered(scenes, run.arm.foundation.resolution))
        known |= {"prompts": evidence.prompts}
        card = judge_card(scenes, real, run.arm.foundation.world)
    else:
        real = {} if evidence.training is None else shown_as(run, evidence.training)
        known |= {"training": None}
    pictures = {name: Evidence(images=shown, **known) for name, shown in real.items()}
    for other in worded:
        fields = other.real(lambda described: shown_as(run, rendered(described, run.arm.foundation.resolution)))
        pictures = {name: replace(shown, **fields[name]) for name, shown in pictures.items()}
    found = {name: score_all(metrics, shown) for name, shown in pictures.items()}
    if evidence.answers is not None:
        right = [answer._replace(correct=True) for answer in evidence.answers]
        found["all_right"] = score_all(metrics, Evidence(answers=right, blind_answers=evidence.blind_answers))
    return found, card


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


def real_scenes(prompts: list[Metadata], world: World) -> list[Scene] | None:
    """A scene that fulfils each prompt; None where one has no room in the world."""
    scenes = []
    for number, metadata in enumerate(prompts):
        rng = np.random.default_rng([number, 53])
        tried = (compose(metadata, world, rng) for _ in range(TRIES))
        scene = next((scene for scene in tried if scene is not None), None)
        if scene is None:
            return None
        scenes.append(scene)
    return scenes


def rendered(scenes: Sequence[Scene], side: int) -> UInt8[Tensor, "m 3 s s"]:
    """Scenes as images of a side."""
    return torch.from_numpy(np.stack([render(scene, side) for scene in scenes])).permute(0, 3, 1, 2).contiguous()


def shown_as(run: Run, real: Tensor) -> dict[str, Tensor]:
    """Real images as they are (``real``), and through encoder and decoder (``decoder``)."""
    return {"real": real, "decoder": reconstructed(run.arm.encoder, run.arm.decoder, real, run.device)}


@torch.inference_mode()
def reconstructed(
    encoder: Encoder, decoder: Decoder, real: UInt8[Tensor, "m 3 s s"], device: torch.device
) -> UInt8[Tensor, "m 3 s s"]:
    """Images through an encoder and its decoder, which are left on the device."""
    noise, decoded = NoiseSource(0, "ceiling"), []
    encoder, decoder = encoder.to(device), decoder.to(device)
    size = at_once(64, real.shape[-1])
    for begin in progress(range(0, len(real), size), "ceiling", "batch"):
        images = real[begin : begin + size].to(device).float() / 255
        keys = [str(begin + i) for i in range(len(images))]
        decoded.append(to_uint8(decoder.decode(encoder.encode(images), noise, keys)))
    return torch.cat(decoded)


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
