"""What a run is tested with: prompts, real images, judges and evaluators, as its `evaluation` settings choose them.

The embedded world brings all of them, and they fit together: prompts about its shapes, scenes that fulfil them, a judge
that reads pixels, questions about test scenes. Whoever trains on other images brings others. A test can then say less:
no scene of the world fulfils "a photo of a dog", and nobody knows the answers to questions about pictures without
truth. What a choice cannot answer is left out of the metrics, and `left_out` says what and why.

Learning curves and tuning are scored on validation prompts, never on the test's. GenEval's are other draws of its own
generator; a file of prompts needs a second one, without which there are no curves.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import UInt8
from torch import Tensor, nn

from unimm.analysis.judging import FactCard
from unimm.data.scenes import SceneSet
from unimm.evaluation.fact_card import check_words, try_evaluator, try_judge
from unimm.evaluation.folder import read_prompts
from unimm.evaluation.geneval.prompts import generate_prompts
from unimm.evaluation.judge import Judge, Judged
from unimm.evaluation.labelled import Labelled, kinds_of, labelled_scenes, read_labels
from unimm.evaluation.metric import Metric
from unimm.evaluation.metrics.clip_score import ClipScore, evaluators
from unimm.evaluation.metrics.geneval import unknown_to
from unimm.evaluation.metrics.own_clip import OwnClipScore
from unimm.evaluation.reference import FEWEST, reference_images
from unimm.evaluation.suite import build_metrics
from unimm.evaluation.words import OWN_CLIP
from unimm.foundation.folder import Foundation
from unimm.progress import say
from unimm.registry import detectors
from unimm.scenes.combinations import combination_prompts
from unimm.scenes.prompts import Metadata, prompt_set
from unimm.schema import GENEVAL, NONE, SCENES, Choice, EvaluationConfig, clip_folder

VALIDATION_SEED = 44  # the official prompts are of 43
TEXT = "text"  # the tag of prompts that are texts alone
CLIP_SCORE = "clip_score"
NO_CURVE = "the learning curve is left out: there are no prompts but the test's; set evaluation.validation_prompts=FILE"
IMAGES = frozenset({"images", "captions", "training", "varied", "varied_prompts"})
# Why a field of `Evidence` is empty.
REASONS: Mapping[str, str] = {
    "prompts": "prompts are texts alone, which do not say what an image has to show; give GenEval metadata (.jsonl)",
    "reference": "there are no real images to compare with (evaluation.reference=none)",
    "answers": "its questions are about the embedded world's scenes, and evaluation.reference is not scenes",
    "descriptions": "they are read by the embedded world's grammar, and evaluation.reference is not scenes",
    "place_images": "its placed captions are of the embedded world's scenes, and evaluation.prompts is not scenes",
    "long_images": "its long captions are of the embedded world's scenes, and evaluation.prompts is not scenes",
}


class Asked(NamedTuple):
    """A prompt, and how many images it gets."""

    metadata: Metadata
    images: int


@dataclass(frozen=True)
class Benchmark:
    """The test of one run, on images of the foundation's resolution."""

    settings: EvaluationConfig
    foundation: Foundation

    @cached_property
    def asked(self) -> list[Asked]:
        """Every prompt of the test; ValueError says what is wrong with its file."""
        settings, world = self.settings, self.foundation.world
        if not settings.asks_scenes:
            return [Asked(metadata, settings.images_per_prompt) for metadata in self._own[0]]
        six = prompt_set(world, "test", settings.prompts_per_task)
        return [Asked(metadata, settings.images_per_prompt) for metadata in six] + [
            Asked(metadata, 1)
            for held_out in (True, False)
            for metadata in combination_prompts(world, settings.combination_prompts, held_out)
        ]

    def test(self) -> tuple[list[Metadata], list[str]]:
        """A prompt and a noise key (prompt number/image number) for every image of the test."""
        prompts = [metadata for metadata, count in self.asked for _ in range(count)]
        keys = [f"{number}/{image}" for number, (_, count) in enumerate(self.asked) for image in range(count)]
        return prompts, keys

    @cached_property
    def has_facts(self) -> bool:
        """Whether prompts say what an image has to show, so that it can be judged; texts alone do not."""
        return self._own[1]

    @cached_property
    def _own(self) -> tuple[list[Metadata], bool]:
        """The chosen prompts where they are not the scenes', and whether they say what an image has to show."""
        if self.settings.asks_scenes:
            return [], True
        return _read(self.settings.prompts_file) if self.settings.prompts_file else (generate_prompts(), True)

    def validation(self, per_task: int) -> list[Metadata]:
        """Prompts that are not the test's, ``per_task`` of every task; none where there are no others."""
        chosen = self.settings
        if chosen.asks_scenes:
            return prompt_set(self.foundation.world, "validation", per_task)
        if chosen.prompts == GENEVAL:
            test = {str(metadata["prompt"]) for metadata in self._own[0]}
            others = [m for m in generate_prompts(VALIDATION_SEED, 2 * per_task) if str(m["prompt"]) not in test]
            return _of_each_task(others, per_task)
        if chosen.validation_prompts is None:
            return []
        metadata, has_facts = _read(Path(chosen.validation_prompts))
        return _of_each_task(metadata, per_task) if has_facts else []

    def reference(self) -> UInt8[Tensor, "r 3 s s"] | None:
        """Real images that training never saw; None where there are none."""
        chosen, count, side = self.settings.reference, self.settings.reference_scenes, self.foundation.resolution
        if chosen in (None, SCENES):
            return SceneSet(self.foundation.world, "test", count, side).pixels
        return None if chosen == NONE else reference_images(Path(str(chosen)), count, side)

    @property
    def asks_questions(self) -> bool:
        """Whether the backbone is asked about test scenes, which takes a test of the embedded world."""
        return self.settings.reference in (None, SCENES)

    @cached_property
    def knows_prompts(self) -> bool:
        """Whether the embedded world has all that the prompts name, so that scenes can fulfil them."""
        return self.has_facts and not unknown_to(self.foundation.world, (metadata for metadata, _ in self.asked))

    @cached_property
    def _chosen_judges(self) -> list[Metric]:
        if not self.settings.judge:
            return build_metrics(("geneval",), self.foundation)
        found: list[Metric] = []
        for choice in self.settings.judge:
            judge: Any = detectors.get(choice.name)
            found.append(judge.metric(choice.config, self.foundation))
        names = [metric.judge.name for metric in found if isinstance(metric, Judged)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"evaluation.judge: two judges are called {twice}: give their folders other names")
        return found

    @cached_property
    def judging(self) -> list[Metric]:
        """The metrics that say whether images fulfil prompts: the scenes' judge, or the chosen ones; those that can."""
        return [metric for metric in self._chosen_judges if self._obstacle(metric) is None]

    @property
    def judges(self) -> list[Judge]:
        """The judges that need a card of their own; the scenes' has another (`unimm.evaluation.judge_card`)."""
        return [metric.judge for metric in self.judging if isinstance(metric, Judged)]

    @property
    def prefix(self) -> str:
        """What the names of the first judge's scores begin with."""
        first = next(iter(self.judging), None)
        return first.prefix if isinstance(first, Judged) else "geneval"

    @cached_property
    def own_clip(self) -> OwnClipScore | None:
        """The evaluator that the run brings, if it does; with the settings of the metric whose place it takes."""
        if self.settings.clip is None:
            return None
        own = (c.config.model_dump() for c in self.settings.metrics if isinstance(c, Choice) and c.name == CLIP_SCORE)
        folder = clip_folder(self.settings.clip)
        return OwnClipScore(OwnClipScore.Config(folder=folder, **next(own, {})), self.foundation)

    def pictures(self) -> Labelled | None:
        """What a CLIP and other judges than the scenes' are tried on: labelled pictures, or scenes of the prompts."""
        if not self.judges and self.own_clip is None:
            return None
        if self.settings.judge_labels is not None:
            labels = Path(self.settings.judge_labels)
            return read_labels(labels.parent, labels, self.foundation.resolution)
        return labelled_scenes(self.foundation.world, self.foundation.resolution) if self.knows_prompts else None

    def cards(self) -> dict[str, FactCard]:
        """The card of every judge that needs one and of every CLIP that scores; of those that can be tried."""
        by_foundation = any(isinstance(metric, ClipScore) for metric in self.metrics)
        found = evaluators_cards(self.foundation, self.kinds) if by_foundation else {}
        pictures = self.pictures()
        if pictures is None:
            return found
        found |= {judge.name: try_judge(judge, pictures, self.kinds).card for judge in self.judges}
        if self.own_clip is not None:
            found[OWN_CLIP] = try_evaluator(self.own_clip.clip, pictures, self.kinds).card
        return found

    @property
    def kinds(self) -> list[str]:
        """The kinds of facts that the test asks about; none where its prompts do not say."""
        return kinds_of([metadata for metadata, _ in self.asked]) if self.has_facts else []

    @property
    def metrics(self) -> list[Metric]:
        """What scores the run: the chosen metrics that this test gives what they need."""
        return self._sorted[0]

    @property
    def left_out(self) -> list[str]:
        """A sentence on each part of the test that cannot be had, and why."""
        without = [] if self.validation(1) or not self.judging else [NO_CURVE]
        return [*self._sorted[1], *without]

    @cached_property
    def _sorted(self) -> tuple[list[Metric], list[str]]:
        own: list[Metric] = [self.own_clip] if self.own_clip else []
        taken = {"geneval": self._chosen_judges, CLIP_SCORE: own}
        kept: list[Metric] = []
        left: list[str] = []
        for choice in self.settings.metrics:
            name = choice if isinstance(choice, str) else choice.name
            for metric in taken.get(name) or build_metrics((choice,), self.foundation):
                why = self._obstacle(metric)
                kept += [metric] if why is None else []
                left += [] if why is None else [f"{name} is left out: {why}"]
        return kept, left

    def check(self, encoder: nn.Module) -> None:
        """Load all that the test takes, so that what is wrong is found before training; says what is left out.

        Raises:
            ValueError: a file, folder or checkpoint is not as it should be, nothing is left to score by, or the
                evaluator that the run brings is what its encoder is.
        """
        self._check_files()
        if not self.metrics:
            raise ValueError("nothing is left that could score the run: " + "; ".join(self.left_out))
        if self.own_clip is not None:
            self.own_clip.check_independent(encoder)
        for sentence in self.left_out:
            say(sentence)

    def _check_files(self) -> None:
        """ValueError for own files that cannot be read, and for validation prompts that are the test's."""
        self._check_labels()
        if self.settings.reference not in (None, SCENES, NONE):
            reference_images(Path(str(self.settings.reference)), FEWEST, self.foundation.resolution)
        if self.settings.validation_prompts is not None:
            test = {str(metadata["prompt"]) for metadata, _ in self.asked}
            twice = next((str(m["prompt"]) for m in self.validation(sys.maxsize) if m["prompt"] in test), None)
            if twice is not None:
                raise ValueError(
                    f"evaluation.validation_prompts: {twice!r} is a prompt of the test; leave it out of one"
                )

    def _check_labels(self) -> None:
        """ValueError where judges or the run's CLIP could not be tried on the labelled pictures."""
        pictures = self.pictures()
        if pictures is None:
            if self.settings.judge_labels is not None:
                raise ValueError(
                    "evaluation.judge_labels: nothing reads it, as the scenes' judge has a card of its own"
                )
            return
        for judge in self.judges:
            check_words(judge, pictures)
        if self.own_clip is not None:
            pictures.pairs()

    def _obstacle(self, metric: Metric) -> str | None:
        """Why a metric cannot be had of this test; None if it can."""
        absent = sorted(metric.needs - self._offered)
        if absent:
            return REASONS.get(absent[0], f"a run gives no {absent[0]}")
        prompts = [metadata for metadata, _ in self.asked]
        return metric.objection(prompts if self.has_facts else None, [str(m["prompt"]) for m in prompts])

    @property
    def _offered(self) -> frozenset[str]:
        """The fields of `Evidence` that the test can fill."""
        fields = {
            ("prompts",): self.has_facts,
            ("reference",): self.settings.reference != NONE,
            ("answers", "blind_answers", "descriptions"): self.asks_questions,
            ("long_images", "long_prompts", "place_images", "place_prompts"): self.settings.asks_scenes,
        }
        return IMAGES | {name for names, there in fields.items() if there for name in names}


def evaluators_cards(foundation: Foundation, needed: Sequence[str]) -> dict[str, FactCard]:
    """Cards of the foundation's evaluators, tried on scenes of its world, the words of which are all that they know.

    ``needed`` are the kinds of facts that the prompts ask about; of none, every kind counts.
    """
    scenes = labelled_scenes(foundation.world, foundation.resolution)
    return {name: try_evaluator(clip, scenes, needed).card for name, clip in evaluators(foundation).items()}


def _read(file: Path) -> tuple[list[Metadata], bool]:
    metadata, texts = read_prompts(file)
    if metadata is not None:
        return metadata, True
    return [{"tag": TEXT, "prompt": text} for text in texts], False


def _of_each_task(prompts: Sequence[Metadata], count: int) -> list[Metadata]:
    """The first ``count`` prompts of every task."""
    tasks: dict[str, list[Metadata]] = {}
    for metadata in prompts:
        tasks.setdefault(str(metadata["tag"]), []).append(metadata)
    return [metadata for own in tasks.values() for metadata in own[:count]]
