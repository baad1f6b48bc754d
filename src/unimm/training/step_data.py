"""What each step of a run trains on: prompts, latents and noise keys, and rows that ask about images.

A step's batch is a function of the step alone, so that a resumed run goes on as if it had never stopped. It is cut into
equal shares, one for every rank and micro-batch; what a sample draws goes by its position, so no cut changes it.

Rows that ask about images in joint training: about the scenes, about the run's own images, or both.

A row is found by its position in the stream of understanding, so that a resumed run asks what it would have asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from unimm.arm import Arm, open_source, understanding_samples
from unimm.backbones.causal_lm import Row, row
from unimm.backbones.literal import dropped
from unimm.backbones.wording import answer_ids, generation_ids, question_ids
from unimm.data.cache import cached_latents
from unimm.data.captions import Caption, choose
from unimm.data.latents import Visits, latents_of
from unimm.data.order import stream_indices
from unimm.data.scenes import training_scenes
from unimm.data.source import Source, Visit
from unimm.noise import NoiseSource
from unimm.pretraining.image_rows import DESCRIBE, ImageStream, image_stream
from unimm.pretraining.rows import language_rows
from unimm.schema import CaptionKind, RunConfig
from unimm.training.passes import PassLog

DESCRIBED = 5
SEED_OFFSET = 1_000_003
TEXT_OFFSET = 2_000_003


class Questions(Protocol):
    """Rows about images, by their position in the stream of understanding."""

    def between(self, begin: int, end: int, later: Sequence[tuple[int, int]]) -> tuple[list[Row], list[Tensor]]:
        """Rows and the image tokens ``[n, d]`` of each, but of the last ones where these are text alone.

        ``later`` are the ranges that will be asked for next.
        """


class SceneQuestions:
    """Rows about the scenes, all in memory; ``total`` of them will be asked for."""

    def __init__(self, seed: int, asked: ImageStream, image_tokens: Float[Tensor, "m k c"], total: int) -> None:
        self.seed, self.asked, self.image_tokens, self.total = seed, asked, image_tokens, total

    def between(self, begin: int, end: int, later: Sequence[tuple[int, int]]) -> tuple[list[Row], list[Tensor]]:
        rows, images = self.asked.between(self.seed + SEED_OFFSET, begin, end, self.total)
        return rows, list(self.image_tokens[images])


class SourceQuestions:
    """Rows about the images of the run's own source: its questions, and every fifth a description.

    ``row_of(visit, described)`` words the row of a visit.
    """

    def __init__(self, visits: Visits, row_of: Callable[[Visit, bool], Row]) -> None:
        self.visits, self.row_of = visits, row_of

    def between(self, begin: int, end: int, later: Sequence[tuple[int, int]]) -> tuple[list[Row], list[Tensor]]:
        if begin == end:
            return [], []
        visits = self.visits.between(begin, end, later)
        rows = [self.row_of(visit, visit.position % DESCRIBED == DESCRIBED - 1) for visit in visits]
        return rows, list(self.visits.finish(visits))


class Replayed:
    """Rows about images and, as a ``share`` of the stream, rows of ``text`` alone, which come last in every range."""

    def __init__(self, seed: int, about_images: Questions, text: list[Row], share: float) -> None:
        self.seed, self.about_images, self.text, self.share = seed, about_images, text, share

    def between(self, begin: int, end: int, later: Sequence[tuple[int, int]]) -> tuple[list[Row], list[Tensor]]:
        next_images = [(first - self._texts(first), after - self._texts(after)) for first, after in later]
        texts = self._texts(begin), self._texts(end)
        rows, tokens = self.about_images.between(begin - texts[0], end - texts[1], next_images)
        indices = stream_indices(self.seed + TEXT_OFFSET, *texts, len(self.text))
        return rows + [self.text[i] for i in indices.tolist()], tokens

    def _texts(self, position: int) -> int:
        """How many of the rows before a position are text."""
        return int(position * self.share)


class Descriptions:
    """Questions about scenes, and as every fifth row a description of an image of the run's own source."""

    def __init__(self, scenes: SceneQuestions, visits: Visits, row_of: Callable[[Visit, bool], Row]) -> None:
        self.scenes = scenes
        self.described = SourceQuestions(visits, lambda visit, described: row_of(visit, True))

    def between(self, begin: int, end: int, later: Sequence[tuple[int, int]]) -> tuple[list[Row], list[Tensor]]:
        rows, tokens = self.scenes.between(begin - begin // DESCRIBED, end - end // DESCRIBED, ())
        next_described = [(first // DESCRIBED, after // DESCRIBED) for first, after in later]
        more_rows, more_tokens = self.described.between(begin // DESCRIBED, end // DESCRIBED, next_described)
        return rows + more_rows, [*tokens, *(shown.to(self.scenes.image_tokens.device) for shown in more_tokens)]


def wording(tokenizer: PreTrainedTokenizerFast, seed: int, image_tokens: int) -> Callable[[Visit, bool], Row]:
    """Words the row of a visit: one of the image's questions, or its description where there is none or it is asked."""

    def row_of(visit: Visit, described: bool) -> Row:
        questions = visit.texts.questions
        if questions and not described:
            draw = float(NoiseSource(seed, "question").uniform([visit.position]))
            question, answer = questions[int(draw * len(questions))]
        else:
            question, answer = DESCRIBE, choose(visit.texts, "long", seed, visit.position).text
        asked = row(question_ids(tokenizer, question, image_tokens), answer_ids(tokenizer, answer))
        return asked._replace(sample=visit.key)

    return row_of


AHEAD = 2
PROMPTS_KEPT = 1 << 18


class Share(NamedTuple):
    """One of ``parts`` equal parts of every step's batch, whole by default."""

    part: int = 0
    parts: int = 1

    def of(self, begin: int, end: int) -> tuple[int, int]:
        """Where this part of a range begins and ends; parts differ by one where they cannot be equal."""
        first, after = (begin + (end - begin) * number // self.parts for number in (self.part, self.part + 1))
        return first, after


def shares(rank: int, ranks: int, micro_batches: int) -> tuple[Share, ...]:
    """A rank's shares of every step, which lie side by side: one for each of its micro-batches."""
    return tuple(Share(rank * micro_batches + number, ranks * micro_batches) for number in range(micro_batches))


class Cut(NamedTuple):
    """A text that has more tokens than the backbone reads: whose it is, what it is, and how many were left out."""

    sample: str
    text: str
    tokens: int


class Seen(NamedTuple):
    """What a share of a step saw, for the data card: visits, the caption of each, and the texts that were cut."""

    visits: list[Visit]
    captions: list[Caption]
    cut: list[Cut]


class StepData:
    """Training material and the order in which a run visits it.

    ``questions_by_step[s]`` is the position in the stream of understanding at which step s begins; ``shares`` are those
    of every step that this process trains on, one after the other. ``passes`` is what training made of them so far.
    """

    shares: tuple[Share, ...] = shares(0, 1, 1)

    def __init__(
        self,
        seed: int,
        batch_size: int,
        visits: Visits,
        prompt_ids: Callable[[str], list[int]],
        kind_of: Callable[[float], CaptionKind],
        questions: Questions | None,
        questions_by_step: Sequence[int],
        tower: Visits | None = None,
    ) -> None:
        self.seed, self.batch_size = seed, batch_size
        self.visits, self.kind_of = visits, kind_of
        self.questions, self.questions_by_step = questions, questions_by_step
        self.tower = tower
        self._prompt_ids = lru_cache(PROMPTS_KEPT)(prompt_ids)
        self.seen, self.passes = Seen([], [], []), PassLog()

    @property
    def steps(self) -> int:
        """Steps of the run."""
        return len(self.questions_by_step) - 1

    @property
    def samples_at_once(self) -> int:
        """How many samples of a step go through the model together."""
        return max(1, self.batch_size // self.shares[0].parts)

    @property
    def fewest_questions(self) -> int:
        """Rows about images in the step that has the fewest."""
        return min(end - begin for begin, end in pairwise(self.questions_by_step))

    def generation(self, step: int, number: int = 0) -> tuple[list[list[int]], Tensor, list[int]]:
        """Prompt ids, latents and noise keys of share ``number`` of a step; a step's captions are all of the
        kind that its draw names, where images have it. The channels of a tower's tokens follow those of the latents."""
        begin, end = self._positions(step, number)
        later = [self._positions(*share) for share in self._after(step, number)]
        visits = self.visits.between(begin, end, later)
        latents = self.visits.finish(visits)
        if self.tower is not None:
            tokens = self.tower.finish(self.tower.between(begin, end, later))
            latents = torch.cat([latents, tokens.to(latents.device)], dim=-1)
        draw = float(NoiseSource(self.seed, "caption kind", step).uniform([0]))
        kind = self.kind_of(draw)
        captions = [choose(visit.texts, kind, self.seed, visit.position) for visit in visits]
        prompts = [self._prompt_ids(caption.text) for caption in captions]
        pairs = zip(visits, map(dropped, prompts), strict=True)
        self.seen = Seen(visits, captions, [Cut(visit.key, "caption", tokens) for visit, tokens in pairs if tokens])
        return prompts, latents, list(range(begin, end))

    def _positions(self, step: int, number: int) -> tuple[int, int]:
        return self.shares[number].of(step * self.batch_size, (step + 1) * self.batch_size)

    def _after(self, step: int, number: int) -> list[tuple[int, int]]:
        """(step, number) of the next shares that this process trains on."""
        count = len(self.shares)
        following = range(step * count + number + 1, step * count + number + 1 + AHEAD)
        return [divmod(share, count) for share in following if share < self.steps * count]

    def understanding(self, step: int, number: int = 0) -> tuple[list[Row], Tensor | None]:
        """Question rows and image tokens of share ``number`` of a step: of the next few of the stream, as many as the
        step's share of it."""
        assert self.questions is not None
        begin, end = self._questions(step, number)
        later = [self._questions(*share) for share in self._after(step, number)]
        rows, tokens = self.questions.between(begin, end, later)
        self.seen.cut.extend(Cut(r.sample, "question and answer", r.dropped) for r in rows if r.dropped)
        return rows, torch.stack(tokens) if tokens else None

    def _questions(self, step: int, number: int) -> tuple[int, int]:
        begin, end = self.questions_by_step[step : step + 2]
        return self.shares[number].of(begin, end)


def step_data(config: RunConfig, arm: Arm, device: torch.device, source: Source | None = None) -> StepData:
    """Latents, prompts and, where the strategy needs them, questions."""
    source = source or open_source(config, arm.foundation)
    steps, tokenizer = config.training.steps, arm.backbone.tokenizer
    samples, seed = steps * config.training.batch_size, order_seed(config)
    seen = [arm.encoder] if arm.tower is None else [arm.encoder, arm.tower]
    visits, *tower = (Visits(source, seed, latents_of(encoder, source, samples, device)) for encoder in seen)
    total = understanding_samples(arm.strategy.mix(), arm.foundation)
    repeated = sorted(set(source.repeated_captions())) if config.data.short_caption_share else []
    if repeated and not arm.strategy.mix().train_backbone:
        arm.backbone.remember([generation_ids(tokenizer, caption) for caption in repeated], device)
    return StepData(
        seed,
        config.training.batch_size,
        visits,
        lambda caption: generation_ids(tokenizer, caption),
        config.data.caption_kind,
        questions(config, arm, source, total, device) if total else None,
        [total * step // steps for step in range(steps + 1)],
        *tower,
    )


def order_seed(config: RunConfig) -> int:
    """What decides order, captions and noise of training; the seed of fresh weights is ``config.seed``."""
    return config.seed if config.data.seed is None else config.data.seed


def questions(config: RunConfig, arm: Arm, source: Source, total: int, device: torch.device) -> Questions:
    """What a joint run asks: about images, and where its strategy says so about none."""
    share = arm.strategy.mix().text_share
    asked = about_images(config, arm, source, total - int(total * share), device)
    if not share:
        return asked
    data = training_scenes(arm.foundation.world, config.data.train_scenes, arm.foundation.resolution)
    return Replayed(order_seed(config), asked, language_rows(arm.backbone, data), share)


def about_images(config: RunConfig, arm: Arm, source: Source, total: int, device: torch.device) -> Questions:
    """What a joint run asks: about scenes, unless the source has questions; descriptions where it has captions."""
    eyes, seed = arm.backbone.image_encoder(arm.foundation, arm.encoder), order_seed(config)
    image_tokens = eyes.latent_spec().tokens
    row_of = wording(arm.backbone.tokenizer, seed, image_tokens)
    if source.understanding == "questions":
        return SourceQuestions(Visits(source, seed + SEED_OFFSET, latents_of(eyes, source, total, device)), row_of)
    world, resolution = arm.foundation.world, arm.foundation.resolution
    data = training_scenes(world, config.data.train_scenes, resolution)
    asked = image_stream(arm.backbone, data, image_tokens)
    descriptions = 0 if source.understanding == "scenes" else total // DESCRIBED
    about_scenes = SceneQuestions(seed, asked, cached_latents(eyes, data, device).values, total - descriptions)
    if not descriptions:
        return about_scenes
    described = latents_of(eyes, source, descriptions, device)
    return Descriptions(about_scenes, Visits(source, seed + SEED_OFFSET, described), row_of)
