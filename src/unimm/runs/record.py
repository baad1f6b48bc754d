"""A run as a record: the types and file names that its writers and its readers share; see docs/result.md.

`Result` is ``result.json``, `Items` is ``items.json``, and `Step` is a line of ``metrics.jsonl``; those of
tuning stand in `unimm.runs.trial_record`. Version 1 only ever gains fields: reading keeps those it does not know, and
refuses a file whose required fields are missing or whose version is newer than this code. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError, field_serializer, field_validator

from unimm.analysis.judging import FactCard
from unimm.evaluation.words import Words
from unimm.files import METRICS, read_text, write_json
from unimm.runs.code import Code
from unimm.runs.samples import GRID, Sample, read_image

SCHEMA_VERSION = 1
CONFIG, RESULT, ITEMS = "config.yaml", "result.json", "items.json"
PLAN = "plan.json"  # in the folder of a study or a tuning, above its runs
FAILED = "--- failed: "  # begins the line of a log that says how a run ended without a result
GIVEN_UP = "failed.json"  # in the place of a result, or of a trial's record, where it failed for good

IMAGES = "image"  # what most scores' items are
MEND = "copy it again, or run the arm again with --overwrite"
Record = TypeVar("Record")
NamedScores = dict[str, float | None]


class _Record(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class ScoreRecord(_Record):
    """One number, over how many items it was taken, and how; null if it could not be measured.

    `stderr` is its standard error over prompts or questions within this run, null where it was not taken.
    `library_value` is what the protocol's library itself returns, where that is another number. (It is no part of the
    protocol, in which runs have to agree.)
    """

    name: str
    value: float | None
    n: int
    protocol: dict[str, JsonValue]
    stderr: float | None = None
    library_value: float | None = None


class Counts(_Record):
    """What training consumed; ``understanding_before`` of the understanding samples, the foundation's backbone did."""

    generation_samples: int
    understanding_samples: int
    steps: int
    understanding_before: int | None = None


class Parameters(_Record):
    """Parameter counts of the assembled model."""

    trainable: int
    frozen: int


class Speed(_Record):
    """Throughput and where the time went; null where a phase did not happen."""

    samples_per_second: float | None
    train_seconds: float | None
    score_seconds: float | None
    wall_seconds: float | None
    data_wait_fraction: float | None


class Bounds(_Record):
    """What something cost: equal bounds where it was seen, `high` null where it had not happened by the end."""

    low: float
    high: float | None


class Reached(_Record):
    """Cost of first reaching a preset score on validation prompts, log-linear between snapshots."""

    score: str
    target: float
    samples: Bounds
    flops: Bounds
    seconds: Bounds


class CountedPass(_Record):
    """FLOPs, forward and backward, of one sample in a kind of pass, of which training made ``samples``.

    ``length`` and ``answer`` are the mean numbers of tokens of its text as padded, and of its answer.
    """

    kind: str
    samples: int
    length: float
    answer: float
    flops: float


class Efficiency(_Record):
    """FLOPs (forward and backward a generation sample; from prompt to pixels an image), memory, seconds an image.

    Those of training are the sum over ``passes``; without any, they are the mean of the run's first eight steps, whose
    share of long captions is a matter of luck.
    """

    train_flops_per_sample: float
    train_flops: float
    sampling_flops_per_image: float
    peak_memory_bytes: int
    sampling_seconds_per_image: float | None = None
    reached: list[Reached] = []
    passes: list[CountedPass] = []


class ResolutionPoint(_Record):
    """Tokens of the run's encoder for an image of ``resolution`` pixels a side, and FLOPs of its head on as many."""

    resolution: int
    tokens: int
    head_flops: int


class LatentShape(_Record):
    """Tokens of an image's latents, and channels of each."""

    tokens: int
    channels: int


class Invariants(_Record):
    """Properties checked after training; null where the arm does not promise them."""

    backbone_unchanged: bool | None


class Reading(_Record):
    """How a facet was read: share right, and true value -> value read -> how often."""

    accuracy: float
    confusion: dict[str, dict[str, int]]


class JudgedView(_Record):
    """The judge on images of one kind; `surplus` counts detections an image that lie on no object."""

    shape: Reading
    colour: Reading
    count: Reading
    surplus: float


class JudgeCard(_Record):
    """How the judge reads real scenes: as rendered, through encoder and decoder, and damaged."""

    images: int
    views: dict[str, JudgedView]


class Change(_Record):
    """Accuracy on the same `n` questions before and after generation training, and how many answers flipped.

    `effect` is after minus before; its 95 % interval is over questions, and null where the effect is exactly 0.
    """

    n: int
    before: float
    after: float
    effect: float
    low: float | None
    high: float | None
    gained: int
    lost: int


class Retention(_Record):
    """What generation training left of understanding, by kind of question; no kinds where there was none before."""

    start: str
    exact: bool
    kinds: dict[str, Change]


class CurvePoint(_Record):
    """One snapshot of the run, scored on ``n`` validation images."""

    step: int
    samples: int
    n: int
    scores: NamedScores


class Data(_Record):
    """What training visited, from `data_card.json`; equal digests mean the same samples in the same order."""

    source: str
    latents: str
    resumes: str
    positions: int
    digest: str
    captions: dict[str, int]
    unusable: int
    replaced: int


class StageRecord(_Record):
    """One stage of a run that trained in stages: on what, how fast, how much, and what it scored."""

    name: str
    source: str
    strategy: str
    learning_rate: float
    counts: Counts
    train_flops: float
    train_seconds: float | None
    scores: list[ScoreRecord]
    data: Data | None


class Result(_Record):
    """`result.json`: the whole outcome of one run (one arm, one seed); `words` are those of plug-ins' scores.

    `phrases` are the arm in words by its parts, as the components called themselves (`unimm.arm_words`).
    `code` is that of unimm and of every plug-in package when the run began, `scored_by` that which scored it again.
    """

    schema_version: int
    arm: str
    seed: int
    profile: str
    world: str
    settings: str
    device: str
    started: datetime
    scores: list[ScoreRecord]
    floors: dict[str, NamedScores]
    ceilings: dict[str, NamedScores]
    counts: Counts
    parameters: Parameters
    speed: Speed
    hashes: dict[str, JsonValue]
    invariants: Invariants
    versions: dict[str, JsonValue]
    config: dict[str, JsonValue]
    curve: list[CurvePoint] = []
    efficiency: Efficiency | None = None
    data: Data | None = None
    resolution: int | None = None
    latent_shape: LatentShape | None = None
    resolution_scaling: list[ResolutionPoint] = []
    judge_card: JudgeCard | None = None
    judge_cards: dict[str, FactCard] = {}
    left_out: list[str] = []
    retention: Retention | None = None
    stages: list[StageRecord] = []
    words: dict[str, Words] = {}
    phrases: dict[str, str] = {}
    code: dict[str, Code] = {}
    scored_by: dict[str, Code] = {}

    @field_serializer("started")
    def _spelled(self, started: datetime) -> str:
        return started.isoformat()

    @field_validator("schema_version")
    @classmethod
    def _readable(cls, version: int) -> int:
        if not 1 <= version <= SCHEMA_VERSION:
            known = f"this unimm reads versions 1 to {SCHEMA_VERSION}"
            raise ValueError(f"{known}: install the one that wrote version {version}")
        return version


class ItemPrompt(_Record):
    """The prompt of one image, and its task."""

    prompt: str
    tag: str


# Of items.json files that do not say it themselves: scores whose items are no images, by the first part of their name.
_EARLIER_UNITS = {"understanding": "question", "descriptions": "description"}


class Items(_Record):
    """``items.json``: the value of every item under every score that has one.

    Items are images, in the order of ``prompts``, but for the scores that ``units`` names: ``question``,
    ``description``.
    """

    prompts: list[ItemPrompt]
    scores: dict[str, list[float | None]]
    units: dict[str, str] = {}

    def unit(self, score: str) -> str:
        """What the items of a score are."""
        return self.units.get(score) or _EARLIER_UNITS.get(score.partition("/")[0], IMAGES)


class Step(_Record):
    """One line of `metrics.jsonl`; `samples` counts generation samples so far."""

    step: int
    samples: int
    seconds: float
    loss: float | None
    generation_loss: float | None
    understanding_loss: float | None = None
    gradient_norm: float | None = None
    validation_loss: float | None = None


@dataclass(frozen=True)
class RunFolder:
    """Everything that the page shows."""

    path: Path
    result: Result
    steps: tuple[Step, ...]
    samples: tuple[Sample, ...]
    config: str

    def image(self, sample: Sample) -> bytes:
        """The PNG of one sample, which must lie inside the run folder."""
        return read_image(self.path, sample)


def read(run_dir: Path) -> RunFolder:
    """Read the run in `run_dir`; ValueError says which file is missing or malformed."""
    missing = next((name for name in (RESULT, METRICS, GRID, CONFIG) if not (run_dir / name).is_file()), None)
    if missing == RESULT and (run_dir / CONFIG).is_file():
        raise ValueError(unfinished(run_dir))
    if missing:
        raise ValueError(f"{run_dir} is not a finished run: it has no {missing}. Finish it with `unimm run` first.")
    return RunFolder(
        path=run_dir,
        result=read_record(run_dir / RESULT, Result),
        steps=read_steps(run_dir / METRICS),
        samples=tuple(read_record(run_dir / GRID, list[Sample])),
        config=read_text(run_dir / CONFIG),
    )


def unfinished(run_dir: Path) -> str:
    """What to say of a run that was begun and has no result, with the command that goes on with it."""
    again = f"unimm run {run_dir / CONFIG} --out {run_dir} --resume"
    return f"{run_dir} is not a finished run: it has no {RESULT}. Go on with it: `{again}`"


def read_record(path: Path, kind: type[Record], mend: str = MEND) -> Record:
    """A JSON file of a run as the type that docs/result.md gives it.

    Raises:
        ValueError: the file is cut short, no JSON, or of another form; names it and the first problem.
    """
    text = read_text(path, mend)
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        more = f" and {error.error_count() - 1} more" if error.error_count() > 1 else ""
        problem = f"{place}: {first['msg']}{more}".removeprefix(": ")
        raise ValueError(f"{path} does not follow docs/result.md ({problem}): {mend}") from error


def write_result(result: Result, run_dir: Path) -> None:
    """Write ``result.json``: the fields that were measured, so that a record keeps the version it was made by."""
    write_json(run_dir / RESULT, result.model_dump(mode="json", exclude_unset=True))


def plain(value: Mapping[str, Any]) -> dict[str, JsonValue]:
    """A mapping as JSON reads it back: tuples as lists, keys as texts."""
    return json.loads(json.dumps(value))  # type: ignore[no-any-return]


def read_steps(path: Path) -> tuple[Step, ...]:
    """The training log in step order; where a resumed run repeats a step, the later line counts.

    Raises:
        ValueError: a line is no row of a log; names it.
    """
    steps: dict[int, Step] = {}
    for count, line in enumerate(read_text(path, MEND).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            step = Step.model_validate_json(line)
        except ValidationError as error:
            raise ValueError(f"{path}, line {count}, is not JSON or no row of a log: delete that line") from error
        steps[step.step] = step
    return tuple(steps[key] for key in sorted(steps))
