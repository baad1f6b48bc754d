"""Score a trained run: sample the test prompts, run the metrics, put floors and ceilings beside every score.

Runs whose metrics ask for it are tested in long wording too. The learning curve judges every averaged snapshot on
validation prompts. The learning rate is constant after warm-up and snapshots are averages of weights, so that each
point is a finished model at its number of samples (no schedule has to be run out first) and curves of different arms
can be compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unimm.arm import Arm, open_source
from unimm.data.cache import at_once
from unimm.data.scenes import SceneSet
from unimm.data.source import IndexedSource, Unusable
from unimm.evaluation.judge_card import View, judge_card
from unimm.evaluation.judge_card import as_result as card_as_result
from unimm.evaluation.metric import Answered, Evidence, Metric, Score
from unimm.evaluation.suite import build_metrics, own_words, score_all
from unimm.evaluation.words import Words
from unimm.noise import NoiseSource
from unimm.pipeline import Pipeline, to_uint8
from unimm.runs import record
from unimm.runs.run import Run
from unimm.runs.understanding import answered, described
from unimm.scenes.combinations import combination_prompts
from unimm.scenes.long_prompts import LongPrompt, long_prompts
from unimm.scenes.prompts import Metadata, prompt_set
from unimm.scenes.render import render
from unimm.scenes.stream import compose
from unimm.scenes.world import Scene, World
from unimm.schema import EvaluationConfig


@dataclass(frozen=True)
class LongTest:
    """Long prompts, one an image, in the order of the six tasks' short ones; empty where no metric asks for them."""

    asked: Sequence[LongPrompt]
    keys: Sequence[str]

    @classmethod
    def for_metrics(cls, metrics: Sequence[Metric], world: World, settings: EvaluationConfig) -> LongTest:
        """As many images of every long prompt as of its short one, from the same noise."""
        if not any("long_images" in metric.needs for metric in metrics):
            return cls((), ())
        prompts = long_prompts(prompt_set(world, "test", settings.prompts_per_task), world)
        pairs = [(n, prompt, image) for n, prompt in enumerate(prompts) for image in range(settings.images_per_prompt)]
        return cls([prompt for _, prompt, _ in pairs], [f"{n}/{image}" for n, _, image in pairs])

    @property
    def _prompts(self) -> list[Metadata]:
        return [prompt.metadata for prompt in self.asked]

    def drawn(self, pipeline: Pipeline, noise: NoiseSource) -> dict[str, Any]:
        """The fields of `Evidence` that the arm's own images fill."""
        if not self.asked:
            return {}
        images = pipeline([str(p["prompt"]) for p in self._prompts], self.keys, noise)
        return {"long_images": images, "long_prompts": self._prompts}

    def real(self, shown: Callable[[list[Scene]], dict[str, Tensor]]) -> dict[str, dict[str, Any]]:
        """The same fields for every kind of real images that ``shown`` makes of the described scenes."""
        if not self.asked:
            return {}
        images = shown([prompt.scene for prompt in self.asked])
        return {name: {"long_images": kind, "long_prompts": self._prompts} for name, kind in images.items()}


@dataclass
class Scored:
    """Scores, floors and ceilings of one run, the judge's card, the evidence, and how long an image took to sample.

    ``words`` are those of plug-ins' scores.
    """

    scores: list[Score]
    floors: dict[str, list[Score]]
    ceilings: dict[str, list[Score]]
    card: dict[str, View]
    answers: list[Answered]
    images: Tensor
    prompts: list[Metadata]
    seconds_per_image: float
    words: Mapping[str, Words]

    def correct(self) -> list[bool]:
        """For each image, whether it fulfils its whole prompt."""
        by_name = {score.name: score.items for score in self.scores}
        verdicts = []
        for number, prompt in enumerate(self.prompts):
            items = by_name.get(f"geneval/{prompt['tag']}")
            verdicts.append(bool(items and items[number]))
        return verdicts

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
            "judge_card": record.JudgeCard.model_validate(card_as_result(self.card)),
            "words": dict(self.words),
        }


def score_run(run: Run) -> Scored:
    """Sample, judge, measure. Evaluation noise has its own stream and does not depend on the training seed."""
    config, arm = run.config, run.arm
    settings, foundation = config.evaluation, arm.foundation
    metrics = run.metrics
    prompts, keys = test_prompts(arm, settings)
    noise = NoiseSource(0, "evaluation")
    clock = time.monotonic()
    images = arm.pipeline()([p["prompt"] for p in prompts], keys, noise)
    seconds_per_image = (time.monotonic() - clock) / len(images)
    long = LongTest.for_metrics(metrics, foundation.world, settings)
    varied_prompts, varied = vary(arm.pipeline(), prompts, settings, noise)
    answers, blind = answered(run)
    descriptions, blind_descriptions = described(run)
    training = training_images(run)
    evidence = Evidence(
        images=images,
        prompts=prompts,
        training=training,
        reference=SceneSet(foundation.world, "test", settings.reference_scenes, foundation.resolution).pixels,
        answers=answers,
        blind_answers=blind,
        descriptions=descriptions,
        varied=varied,
        varied_prompts=varied_prompts,
        **long.drawn(arm.pipeline(), noise),
    )
    floors = {
        "shuffled_prompts": score_all(metrics, evidence.with_shuffled_prompts()),
        "blind": score_all(metrics, Evidence(answers=blind, blind_answers=blind, descriptions=blind_descriptions)),
    }
    scenes = real_scenes(prompts, foundation.world)
    real = real_images(run, scenes)
    long_real = long.real(lambda shown: real_images(run, shown))
    known: dict[str, Any] = {"prompts": prompts, "reference": evidence.reference, "training": training}
    ceilings = {
        name: score_all(metrics, Evidence(images=shown, **known, **long_real.get(name, {})))
        for name, shown in real.items()
    }
    right = [answer._replace(correct=True) for answer in answers]
    ceilings["all_right"] = score_all(metrics, Evidence(answers=right, blind_answers=blind))
    card = judge_card(scenes, real, foundation.world)
    return Scored(
        score_all(metrics, evidence),
        floors,
        ceilings,
        card,
        answers,
        images,
        prompts,
        seconds_per_image,
        own_words(metrics),
    )


def training_images(run: Run) -> Tensor | None:
    """As many of the run's training images as the reference has; None where a source cannot look images up."""
    config = run.config
    wanted = config.evaluation.reference_scenes
    few = min(config.data.train_scenes, wanted)
    small = config.model_copy(update={"data": config.data.model_copy(update={"train_scenes": few})})
    source = open_source(small, run.arm.foundation)
    if not isinstance(source, IndexedSource):
        return None
    images = []
    for index in source.order(0, 0, min(len(source), wanted)).tolist():
        with suppress(Unusable):
            images.append(source.image(index))
    return torch.stack(images)


def test_prompts(arm: Arm, settings: EvaluationConfig) -> tuple[list[Metadata], list[str]]:
    """A prompt and a noise key (prompt number/image number) for every image of the test."""
    world = arm.foundation.world
    repeated = [
        (metadata, settings.images_per_prompt) for metadata in prompt_set(world, "test", settings.prompts_per_task)
    ]
    repeated += [
        (metadata, 1)
        for held_out in (True, False)
        for metadata in combination_prompts(world, settings.combination_prompts, held_out)
    ]
    prompts = [metadata for metadata, count in repeated for _ in range(count)]
    keys = [f"{number}/{image}" for number, (_, count) in enumerate(repeated) for image in range(count)]
    return prompts, keys


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


def real_scenes(prompts: list[Metadata], world: World) -> list[Scene]:
    """A scene that fulfils each prompt."""
    scenes = []
    for number, metadata in enumerate(prompts):
        rng = np.random.default_rng([number, 53])
        scene = None
        while scene is None:
            scene = compose(metadata, world, rng)
        scenes.append(scene)
    return scenes


@torch.inference_mode()
def real_images(run: Run, scenes: list[Scene]) -> dict[str, Tensor]:
    """Real scenes as rendered (``real``), and through encoder and decoder (``decoder``)."""
    arm, device = run.arm, run.device
    rendered = np.stack([render(scene, arm.foundation.resolution) for scene in scenes])
    real = torch.from_numpy(rendered).permute(0, 3, 1, 2).contiguous()
    noise, decoded = NoiseSource(0, "ceiling"), []
    encoder = arm.encoder.to(device)
    size = at_once(64, arm.foundation.resolution)
    for begin in tqdm(range(0, len(real), size), desc="ceiling", unit="batch"):
        images = real[begin : begin + size].to(device).float() / 255
        keys = [str(begin + i) for i in range(len(images))]
        decoded.append(to_uint8(arm.decoder.decode(encoder.encode(images), noise, keys)))
    return {"real": real, "decoder": torch.cat(decoded)}


def learning_curve(run: Run) -> list[record.CurvePoint]:
    """Scores of each snapshot, in order of samples; leaves the final weights in the arm."""
    foundation, batch = run.arm.foundation, run.config.training.batch_size
    prompts = prompt_set(foundation.world, "validation", run.config.evaluation.curve_prompts)
    keys = [f"validation {number}" for number in range(len(prompts))]
    metrics = build_metrics(("geneval",), foundation)
    points = []
    for step, file in run.snapshots():
        images = run.weights(file).pipeline()([str(p["prompt"]) for p in prompts], keys, NoiseSource(0, "evaluation"))
        scores = {score.name: score.value for score in score_all(metrics, Evidence(images=images, prompts=prompts))}
        points.append(record.CurvePoint(step=step, samples=step * batch, n=len(images), scores=scores))
    run.weights()
    return points
