"""The validated description of one run: frozen pydantic models, which `unimm.config` fills from YAML.

A component is written `{name: clip, standardise: false}`: the registry finds the class, and the class's own
`Config` validates the other keys. A setting that nothing reads is an error: `{name: mse, guidance: 3}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from unimm.component_config import ComponentConfig, Strict
from unimm.registry import Registry, backbones, detectors, encoders, heads, metrics, objectives, sources, strategies
from unimm.sampling_config import SamplingConfig

Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what every random number generator takes
STAGE_NAME = r"[A-Za-z0-9_-]+"
NO_STAGES = ("averages", "figures", "samples")  # folders that every run has
DEFAULT_METRICS = ("geneval", "distance", "clip_score", "diversity", "understanding")
# Words for what a run is tested with, where it is no file or folder.
SCENES, GENEVAL, NONE = "scenes", "geneval", "none"
OPEN_CLIP = "open_clip:"
CaptionKind = Literal["long", "placed", "short"]
# Settings of `evaluation` that a configuration does not store while they are not set.
CHOSEN = ("prompts", "validation_prompts", "reference", "judge", "judge_labels", "clip")

# Of these a configuration sets one, and the other is null; and which settings it does not store while they are null.
INSTEAD = {"training.ema_decay": "training.ema_length", "training.ema_length": "training.ema_decay"}
LEFT_OUT = ("training.ema_length",)

COMPONENTS: dict[str, Registry[Any]] = {
    "encoder": encoders,
    "backbone": backbones,
    "head": heads,
    "objective": objectives,
    "strategy": strategies,
    "source": sources,
}


class Choice(Strict):
    """A component's name and its settings; dumps as one flat mapping."""

    name: str
    config: SerializeAsAny[ComponentConfig]

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        return {"name": self.name, **self.config.model_dump()}


def _choose(registry: Registry[Any], value: Any) -> Choice:
    """A Choice of this registry from a name, or from a mapping with a name."""
    if isinstance(value, Choice):
        return value
    settings = {"name": value} if isinstance(value, str) else value
    if not isinstance(settings, Mapping) or not isinstance(settings.get("name"), str):
        raise ValueError(f"give a name, one of: {', '.join(registry.names())}")
    name = settings["name"]
    rest = {key: entry for key, entry in settings.items() if key != "name"}
    return Choice(name=name, config=registry.config_class(name).model_validate(rest))


def _chooser(registry: Registry[Any], optional: bool = False) -> BeforeValidator:
    """Validator that makes a Choice of this registry; an optional None stays."""
    return BeforeValidator(lambda value: None if optional and value is None else _choose(registry, value))


def _choose_metric(value: Any) -> str | Choice:
    """A metric's name, or a Choice of one with settings of its own.

    A name stays one, and settings that are the defaults are left out: so stored configurations compare equal however
    they spell it, and metrics, whose imports take long, are not loaded before they score.
    """
    if isinstance(value, str):
        metrics.check_name(value)
        return value
    choice = _choose(metrics, value)
    return choice if choice.config.model_dump(exclude_defaults=True) else choice.name


EncoderChoice = Annotated[Choice, _chooser(encoders)]
HeadChoice = Annotated[Choice, _chooser(heads)]
SourceChoice = Annotated[Choice, _chooser(sources)]
MetricChoice = Annotated[str | Choice, BeforeValidator(_choose_metric)]
JudgeChoice = Annotated[Choice, _chooser(detectors)]


class DataConfig(Strict):
    """How many scenes the embedded world trains on, and how many captions in all are long ones, or placed ones.

    ``long_caption_share`` holds for every source whose images have long and short captions; which source a run uses is
    `source`. ``placed_caption_share`` is for the embedded world's scenes, whose placed captions say what short ones do
    and where each object stands; all other captions are short ones. ``seed`` draws
    the order, captions and noise of training (null: the run's seed); latents' statistics are measured on images of
    ``statistics_source`` (null: of `source`).
    """

    train_scenes: PositiveInt = 20_000
    long_caption_share: float = Field(default=0.1, ge=0, le=1)
    placed_caption_share: float = Field(default=0.0, ge=0, le=1)
    seed: Seed | None = None
    statistics_source: Annotated[Choice | None, _chooser(sources, optional=True)] = None

    @property
    def short_caption_share(self) -> float:
        """The share of captions that are neither long nor placed; shares that add up to 1, as 0.7 and 0.3, leave none,
        which subtracting them in turn would not find."""
        return max(0.0, 1 - (self.long_caption_share + self.placed_caption_share))

    @property
    def caption_kinds(self) -> frozenset[CaptionKind]:
        """The kinds of captions that training shows some of, where images have them."""
        shares: dict[CaptionKind, float] = {
            "short": self.short_caption_share,
            "long": self.long_caption_share,
            "placed": self.placed_caption_share,
        }
        return frozenset(kind for kind, share in shares.items() if share)

    def caption_kind(self, draw: float) -> CaptionKind:
        """The kind of caption that a uniform draw in [0, 1) stands for."""
        if draw < self.long_caption_share:
            return "long"
        return "placed" if draw < self.long_caption_share + self.placed_caption_share else "short"

    @model_validator(mode="after")
    def _shares_fit(self) -> DataConfig:
        if self.long_caption_share + self.placed_caption_share > 1:
            raise ValueError(
                f"long_caption_share ({self.long_caption_share:g}) and placed_caption_share "
                f"({self.placed_caption_share:g}) add up to more than 1; lower data.long_caption_share"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A share of 0 placed captions is left out, so that configurations dump as before there were any."""
        content: dict[str, Any] = dump(self)
        return {key: value for key, value in content.items() if key != "placed_caption_share" or value}


class TrainingConfig(Strict):
    """How long and how fast to train; `samples` counts images seen, over all epochs.

    `batch_size` is that of all ranks together, whatever their number; each works through its part of a step in
    ``gradient_accumulation_steps`` micro-batches. Several ranks keep the whole model each (``ddp``) or split it
    (``fsdp2``). Neither changes what is trained, so that ``--resume`` may change them (docs/many_gpus.md).

    The weights that are kept are a moving average, as long as ``ema_decay`` says after a warm-up or, in its place,
    ``ema_length``: the mean age of the averaged weights as a share of the run (`unimm.training.averaging`).
    """

    samples: PositiveInt
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    warmup_steps: NonNegativeInt = 200
    weight_decay: NonNegativeFloat = 0.01
    ema_decay: float | None = Field(default=0.999, ge=0, lt=1)
    ema_length: float | None = Field(default=None, gt=0, le=0.5)
    gradient_clip: PositiveFloat = 1.0
    checkpoint_every_steps: PositiveInt = 500
    snapshots: NonNegativeInt = 8
    compile: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gradient_accumulation_steps: PositiveInt = 1
    distributed: Literal["ddp", "fsdp2"] = "ddp"

    @property
    def steps(self) -> int:
        """Optimiser steps of the run."""
        return self.samples // self.batch_size

    @model_serializer(mode="wrap")
    def _without_what_is_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A length that is not set is left out, so that configurations dump as they did before there was one."""
        content: dict[str, Any] = dump(self)
        return {key: value for key, value in content.items() if f"training.{key}" not in LEFT_OUT or value is not None}

    @model_validator(mode="before")
    @classmethod
    def _length_takes_the_place_of_decay(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or given.get("ema_length") is None:
            return given
        if given.get("ema_decay") is not None:
            raise ValueError(
                f"ema_decay ({given['ema_decay']}) and ema_length ({given['ema_length']}) are both set, and an average "
                "has one length; set training.ema_decay=null for a length relative to the run"
            )
        return {**given, "ema_decay": None}

    @model_validator(mode="after")
    def _average_has_a_length(self) -> TrainingConfig:
        if self.ema_decay is None and self.ema_length is None:
            raise ValueError("ema_decay is null and ema_length is not set; set one of them (ema_decay=0: no average)")
        return self

    @model_validator(mode="after")
    def _budget_is_long_enough(self) -> TrainingConfig:
        if self.steps == 0:
            raise ValueError(
                f"samples ({self.samples}) is less than one batch ({self.batch_size}): nothing would train; "
                "raise training.samples or lower training.batch_size"
            )
        if self.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps ({self.warmup_steps}) reaches the end of the run ({self.steps} steps): the "
                "learning rate would never arrive; lower training.warmup_steps or raise training.samples"
            )
        return self

    @model_validator(mode="after")
    def _batch_can_be_cut(self) -> TrainingConfig:
        parts = self.gradient_accumulation_steps
        if self.batch_size % parts:
            raise ValueError(
                f"batch_size ({self.batch_size}) cannot be cut into {parts} equal micro-batches: choose a multiple, "
                "or change training.gradient_accumulation_steps"
            )
        return self


def clip_folder(chosen: str) -> Path:
    """The folder in ``open_clip:DIR``; ValueError for another text."""
    folder = chosen.removeprefix(OPEN_CLIP).strip()
    if not chosen.startswith(OPEN_CLIP) or not folder:
        raise ValueError(f"{chosen!r}: write {OPEN_CLIP}DIR, with the folder of an open_clip model")
    return Path(folder)


class EvaluationConfig(Strict):
    """How much to sample and to ask when scoring.

    ``combination_prompts`` prompts each of held-out and of seen combinations; ``diversity_prompts`` prompts a task
    with ``diversity_images`` images each; ``curve_prompts`` validation prompts a task for every snapshot;
    ``reference_scenes`` real images for distances (each with five neighbours, so six or more), and as many training
    images to look for copies of. ``metrics`` are
    names, or ``{name: clip_score, distractors: 4}`` where one has settings.

    What the run is tested with (`unimm.evaluation.benchmark`), by default the embedded world's own: ``prompts`` is
    ``scenes``, ``geneval`` or a file (.jsonl, .txt), of which all are asked; ``validation_prompts`` a file for learning
    curves and tuning; ``reference`` is ``scenes``, ``none`` or a folder of pictures or tars; ``judge`` one or several
    detectors; ``clip`` is ``open_clip:`` and a folder; both are tried on the pictures of ``judge_labels``.
    """

    prompts_per_task: PositiveInt = 50
    images_per_prompt: PositiveInt = 2
    combination_prompts: PositiveInt = 25
    diversity_prompts: PositiveInt = 2
    diversity_images: int = Field(default=8, ge=8)
    curve_prompts: PositiveInt = 25
    questions: PositiveInt = 300
    reference_scenes: int = Field(default=1000, ge=6)
    metrics: tuple[MetricChoice, ...] = DEFAULT_METRICS
    prompts: str | None = Field(default=None, min_length=1)
    validation_prompts: str | None = Field(default=None, min_length=1)
    reference: str | None = Field(default=None, min_length=1)
    judge: tuple[JudgeChoice, ...] = ()
    judge_labels: str | None = Field(default=None, min_length=1)
    clip: str | None = None

    @field_validator("metrics", mode="before")
    @classmethod
    def _a_list(cls, chosen: Any) -> Any:
        if not isinstance(chosen, list | tuple):
            shown = chosen if isinstance(chosen, str) else "NAME"
            raise ValueError(f"give a list, as in [{shown}] or [{shown}, {{name: clip_score, distractors: 4}}]")
        return chosen

    @field_validator("metrics")
    @classmethod
    def _each_once(cls, chosen: tuple[str | Choice, ...]) -> tuple[str | Choice, ...]:
        names = [choice if isinstance(choice, str) else choice.name for choice in chosen]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} stands there twice, and its scores would have the same names: give it once")
        return chosen

    @field_validator("judge", mode="before")
    @classmethod
    def _one_or_several(cls, chosen: Any) -> Any:
        return () if chosen is None else chosen if isinstance(chosen, list | tuple) else (chosen,)

    @field_validator("clip")
    @classmethod
    def _names_a_folder(cls, chosen: str | None) -> str | None:
        if chosen is not None:
            clip_folder(chosen)
        return chosen

    @model_validator(mode="after")
    def _everything_is_read(self) -> EvaluationConfig:
        names = {choice if isinstance(choice, str) else choice.name for choice in self.metrics}
        unread = {
            "validation_prompts, as prompts are not of a file": self.validation_prompts and not self.prompts_file,
            "judge_labels, as there is no judge to try": self.judge_labels and not (self.judge or self.clip),
            "judge, as metrics have no geneval": self.judge and "geneval" not in names,
            "clip, as metrics have no clip_score": self.clip and "clip_score" not in names,
        }
        for what, found in unread.items():
            if found:
                raise ValueError(f"nothing reads evaluation.{what}; leave it out, or set the other")
        return self

    @property
    def prompts_file(self) -> Path | None:
        """The file of the test's prompts, where they are of one."""
        return None if self.prompts in (None, SCENES, GENEVAL) else Path(str(self.prompts))

    @property
    def asks_scenes(self) -> bool:
        """Whether the prompts are the embedded world's."""
        return self.prompts in (None, SCENES)

    @model_serializer(mode="wrap")
    def _without_what_is_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is not chosen is left out, so that configurations dump as they did before there was a choice."""
        content: dict[str, Any] = dump(self)
        return {key: value for key, value in content.items() if key not in CHOSEN or value}


class StageConfig(Strict):
    """One of several stretches of training: how many samples it takes, and what it has of its own.

    A setting that is left out (null) is the run's.
    """

    samples: PositiveInt
    learning_rate: PositiveFloat | None = None
    warmup_steps: NonNegativeInt | None = None
    long_caption_share: float | None = Field(default=None, ge=0, le=1)
    source: Annotated[Choice | None, _chooser(sources, optional=True)] = None
    strategy: Annotated[Choice | None, _chooser(strategies, optional=True)] = None

    def training(self, run: TrainingConfig) -> TrainingConfig:
        """The run's training with this stage's budget and pace."""
        own = {"samples": self.samples, "learning_rate": self.learning_rate, "warmup_steps": self.warmup_steps}
        return TrainingConfig(**run.model_dump() | {key: value for key, value in own.items() if value is not None})


class RunConfig(Strict):
    """One arm with one seed, fully resolved.

    With ``stages`` it trains in stretches, each from the averaged weights of the one before (`unimm.runs.stages`).
    """

    name: str = Field(min_length=1)
    question: str = ""
    profile: str
    seed: Seed
    settings: Literal["controlled", "published"]
    foundation: str
    encoder: Annotated[Choice, _chooser(encoders)]
    backbone: Annotated[Choice, _chooser(backbones)]
    head: Annotated[Choice, _chooser(heads)]
    objective: Annotated[Choice, _chooser(objectives)]
    strategy: Annotated[Choice, _chooser(strategies)]
    source: SourceChoice = Field(default="scenes", validate_default=True)
    data: DataConfig = DataConfig()
    training: TrainingConfig
    sampling: SamplingConfig = SamplingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    stages: dict[str, StageConfig] = Field(default_factory=dict)

    @field_validator("stages")
    @classmethod
    def _stages_fit(cls, stages: dict[str, StageConfig], info: ValidationInfo) -> dict[str, StageConfig]:
        run = info.data.get("training")
        if not stages or run is None:  # a training that is wrong has its own message
            return stages
        for name, stage in stages.items():
            if not re.fullmatch(STAGE_NAME, name) or name in NO_STAGES:
                raise ValueError(f"{name!r} is the name of a folder: letters, digits, _ and -, and not {NO_STAGES}")
            try:
                stage.training(run)
            except ValidationError as error:
                raise ValueError(f"{name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
        total = sum(stage.samples for stage in stages.values())
        if total != run.samples:
            raise ValueError(
                f"their samples add up to {total}, and training.samples, the whole run's, is {run.samples}; "
                f"set training.samples={total}"
            )
        return stages


def check_chosen(config: RunConfig) -> None:
    """ValueError for a run on other images than the scenes that does not say what it is tested with, or wants captions
    of it that only scenes have."""
    shown = [config.source, *(stage.source for stage in config.stages.values() if stage.source is not None)]
    others = [choice.name for choice in shown if not sources.get(choice.name).shows_scenes(choice.config)]
    if others and config.data.placed_caption_share:
        raise ValueError(
            f"source={others[0]} has no placed captions, which only the embedded world's scenes have; set "
            "data.placed_caption_share=0"
        )
    open_ones = [key for key in ("prompts", "reference") if getattr(config.evaluation, key) is None]
    if others and open_ones:
        raise ValueError(
            f"source={others[0]} shows other images than the embedded world, on whose prompts and renders the run would"
            f" be tested unless it chooses: set evaluation.{' and evaluation.'.join(open_ones)} (prompts: a file,"
            " geneval or scenes; reference: a folder of pictures or tars, none or scenes)"
        )
