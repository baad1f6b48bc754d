"""Checks of a metric on real scenes: its scores, words and items, and whether scenes score better than grey images."""

from __future__ import annotations

import time
from functools import cached_property

import torch
from torch import Tensor

from unimm.component_checks.bench import Broken, Doubt, Subject, Unchecked
from unimm.data.scenes import SceneSet
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.words import BUILT_IN
from unimm.runs.ceilings import real_scenes, rendered
from unimm.scenes.prompts import Metadata, prompt_set

PROMPTS_PER_TASK, REFERENCE, REPEATS = 4, 48, 8


class MetricBench:
    """The metric, and scenes that show what their prompts say as if a run had drawn them."""

    def __init__(self, subject: Subject) -> None:
        self.foundation = subject.foundation
        self.metric: Metric = subject.cls(subject.config, subject.foundation)

    @cached_property
    def evidence(self) -> Evidence:
        """All that images and prompts give; answers are a run's alone."""
        world, side = self.foundation.world, self.foundation.resolution
        prompts = prompt_set(world, "validation", PROMPTS_PER_TASK)
        images = self._shown(prompts)
        reference, training = (SceneSet(world, split, REFERENCE, side).pixels for split in ("test", "train"))
        few = prompts[:2]
        varied = torch.stack([self._shown([prompt] * REPEATS) for prompt in few])
        return Evidence(
            images=images,
            prompts=prompts,
            reference=reference,
            training=training,
            varied={"seeds": varied},
            varied_prompts=few,
        )

    def _shown(self, prompts: list[Metadata]) -> Tensor:
        """A scene for each prompt."""
        scenes = real_scenes(prompts, self.foundation.world)
        assert scenes is not None, "the world has room for its own prompts"
        return rendered(scenes, self.foundation.resolution)

    @cached_property
    def scores(self) -> list[Score]:
        """Of the scenes."""
        return self.metric.score(self.evidence)


def _needs(bench: MetricBench) -> str:
    known = set(Evidence.__dataclass_fields__)
    unknown = sorted(bench.metric.needs - known)
    if unknown:
        raise Broken(f"needs {', '.join(unknown)}, which no evidence has: choose among {', '.join(sorted(known))}")
    lacking = sorted(bench.metric.needs - bench.evidence.given)
    if lacking:
        raise Unchecked(f"needs {', '.join(lacking)}, which only a run gives: try it in one with profile=tiny")
    return ", ".join(sorted(bench.metric.needs))


def _scores(bench: MetricBench) -> str:
    names = [score.name for score in bench.scores]
    twice = next((name for name in names if names.count(name) > 1), None)
    if not names or twice:
        raise Broken(f"gives two scores called {twice!r}" if twice else "gives no score for images of every task")
    for score in bench.scores:
        if score.value is not None and not abs(score.value) < float("inf"):
            raise Broken(f"{score.name} is {score.value}: give None where nothing could be measured")
    return ", ".join(f"{score.name} {score.value:.4g}" for score in bench.scores if score.value is not None)


def _items(bench: MetricBench) -> str:
    images = len(bench.evidence.prompts or ())
    for score in bench.scores:
        if score.items is not None and score.unit == "image" and len(score.items) != images:
            raise Broken(
                f"{score.name} has {len(score.items)} items for {images} images: one each, None where it has none"
            )
    without = [score.name for score in bench.scores if score.items is None]
    return f"{len(bench.scores) - len(without)} of {len(bench.scores)} scores have a value for every item"


def _repeats(bench: MetricBench) -> str:
    again = {score.name: score.value for score in bench.metric.score(bench.evidence)}
    moved = [score.name for score in bench.scores if again.get(score.name) != score.value]
    if moved:
        raise Broken(f"{moved[0]} is {again.get(moved[0])} for the same images a second time")
    return "the same images have the same scores"


def _words(bench: MetricBench) -> str:
    known = {**BUILT_IN, **bench.metric.words}
    silent = [score.name for score in bench.scores if score.name not in known]
    if silent:
        return Doubt(f"no words for {', '.join(silent)}: pages list them as if more were better; set `words`")
    return "every score has words and a direction"


def _direction(bench: MetricBench) -> str:
    grey = torch.full_like(bench.evidence.images, 128) if bench.evidence.images is not None else None
    worse = Evidence(images=grey, prompts=bench.evidence.prompts, reference=bench.evidence.reference)
    if not bench.metric.needs <= worse.given:
        return "not asked: it needs more than images, prompts and real images"
    known, blank = {**BUILT_IN, **bench.metric.words}, {row.name: row.value for row in bench.metric.score(worse)}
    right: list[str] = []
    wrong: list[str] = []
    for score in bench.scores:
        value = blank.get(score.name)
        if score.name in known and score.value is not None and value is not None and value != score.value:
            better = (score.value < value) == known[score.name].lower_is_better
            (right if better else wrong).append(f"{score.name} ({score.value:.4g} against {value:.4g})")
    if wrong and not right:
        return Doubt(f"grey images score better than scenes: {', '.join(wrong)}; is `better` the other way round?")
    return f"scenes score better than grey images by {len(right)} of {len(right) + len(wrong)} scores that tell"


def _seconds(bench: MetricBench) -> str:
    clock = time.perf_counter()
    bench.metric.score(bench.evidence)
    return f"{time.perf_counter() - clock:.2g} s for {len(bench.evidence.prompts or ())} images"


STEPS = {
    "needs": _needs,
    "scores": _scores,
    "items": _items,
    "repeats": _repeats,
    "words": _words,
    "direction": _direction,
    "seconds": _seconds,
}
