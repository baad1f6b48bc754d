"""GenEval's files in the official formats: prompt metadata, folders of images, results and their summary.

Metadata is JSONL with ``{tag, include, (exclude), prompt}`` a line. Images lie in ``<DIR>/{index:05d}/samples/*.png``
beside their prompt's ``metadata.jsonl`` (``generation/diffusers_generate.py`` of djghosh13/geneval), so that the
official evaluator reads what we write and we read what its users wrote.

Results have one JSON line an image with ``filename, tag, prompt, correct, reason, metadata, details``; metadata and
details are JSON *strings*, as ``evaluation/evaluate_images.py`` writes them: the official ``summary_scores.py`` groups
by the metadata string and fails on an object. The summary is GenEval's: the mean of each task, then the unweighted mean
of the tasks.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from unimm.data.decode import open_image, upright
from unimm.data.source import Unusable
from unimm.files import read_text, write_atomic
from unimm.registry import nearest
from unimm.scenes.geneval_rules import Objects, compute_iou, evaluate_image, relative_position
from unimm.scenes.prompts import Metadata
from unimm.scenes.world import COLOURS, RELATIONS

Colour = Annotated[str, Field(pattern=f"^({'|'.join(COLOURS)})$")]
Relation = Annotated[str, Field(pattern=f"^({'|'.join(RELATIONS)})$")]
Index = Annotated[int, Field(ge=0)]
CLAUSE = ("class", "count", "color", "position")
OFFICIAL_KEYS = ("tag", "include", "exclude", "prompt")
SHOWN = 10
__all__ = ["compute_iou", "evaluate_image", "relative_position", "task_scores"]


class Excluded(BaseModel):
    """More than ``count - 1`` objects of a class make the image wrong."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: str = Field(alias="class")
    count: int = Field(ge=1)


class Included(Excluded):
    """``count`` objects of a class, of a colour, placed relative to the objects of an earlier clause."""

    color: Colour | None = None
    position: tuple[Relation, Index] | None = None


class PromptMetadata(BaseModel):
    """What one line must hold; other keys are allowed and kept."""

    model_config = ConfigDict(strict=True)

    tag: str
    include: list[Included] = Field(min_length=1)
    exclude: list[Excluded] = []
    prompt: str


class PromptImages(NamedTuple):
    """One prompt of an image folder with the files of its images in order."""

    number: int
    metadata: Metadata
    paths: list[Path]


def read_metadata(path: Path) -> list[Metadata]:
    """The prompts of a metadata file, whole and in order; blank lines are skipped.

    Raises ValueError with file, line and what is wrong there: no JSON object, a missing or wrong field, or a prompt
    that stands there already (the official summary groups images by metadata, so a repeat would vanish in it).
    """
    first_lines: dict[str, int] = {}
    prompts = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        metadata = _parse(line, f"{path}, line {number}")
        first = first_lines.setdefault(json.dumps(metadata, sort_keys=True), number)
        if first != number:
            raise ValueError(f"{path}, line {number}: the same prompt as line {first}; remove one of them")
        prompts.append(metadata)
    if not prompts:
        raise ValueError(f"{path}: no prompts; give a JSONL file with tag, include and prompt on every line")
    return prompts


def _parse(line: str, place: str) -> Metadata:
    try:
        checked = PromptMetadata.model_validate_json(line)
    except ValidationError as error:
        raise ValueError(f"{place}: {wrong_fields(error, CLAUSE)}") from error
    for number, clause in enumerate(checked.include):
        if clause.position is not None and clause.position[1] >= number:
            target = clause.position[1]
            raise ValueError(f"{place}: include.{number}.position: target {target} must be an earlier clause's index")
    return dict(json.loads(line))


def wrong_fields(error: ValidationError, known: Sequence[str]) -> str:
    """What is wrong with the fields of a line, in one line; ``known`` are the names that an unknown one may mean."""
    found = []
    for problem in error.errors():
        field = ".".join(map(str, problem["loc"])) or "line"
        if problem["type"] == "extra_forbidden":
            guess = nearest(str(problem["loc"][-1]), known)
            found.append(f"{field}: nothing reads it" + (f"; did you mean {guess!r}?" if guess else ""))
        else:
            found.append(f"{field}: {problem['msg']}")
    return "; ".join(found)


def image_file(folder: Path, prompt: int, image: int) -> Path:
    """Where the official script puts an image of a prompt, both counted from 0."""
    return folder / f"{prompt:05d}" / "samples" / f"{image:05d}.png"


def metadata_file(folder: Path, prompt: int) -> Path:
    """Where it puts the prompt's metadata."""
    return folder / f"{prompt:05d}" / "metadata.jsonl"


def write_image_folder(
    folder: Path, prompts: Sequence[Metadata], images: Iterable[UInt8[Tensor, "k 3 height width"]]
) -> None:
    """Write each prompt's images (RGB) and its metadata; ``images`` may be a stream, one tensor for every prompt.

    Raises ValueError when a prompt has no images or images have no prompt.
    """
    written = 0
    for samples in images:
        if written == len(prompts):
            raise ValueError(f"more images than the {len(prompts)} prompts; give one tensor of images for every prompt")
        write_atomic(metadata_file(folder, written), json.dumps(prompts[written]))
        for number, sample in enumerate(samples):
            write_atomic(image_file(folder, written, number), _png(sample))
        written += 1
    if written < len(prompts):
        raise ValueError(f"images for {written} of {len(prompts)} prompts; give one tensor of images for every prompt")


def read_image_folder(folder: Path, prompts: Sequence[Metadata], images_per_prompt: int = 4) -> list[PromptImages]:
    """The files of every prompt's images, checked to be complete.

    Raises ValueError that lists images which are missing (the first ten and how many), images or prompts beyond those
    expected, which the official evaluator would count, and folders whose metadata belongs to another prompt.
    """
    found = [_numbered_images(image_file(folder, index, 0).parent) for index in range(len(prompts))]
    expected = set(range(images_per_prompt))
    missing = [
        f"{index:05d}/samples/{number:05d}.png"
        for index, paths in enumerate(found)
        for number in sorted(expected - paths.keys())
    ]
    if missing:
        raise ValueError(
            f"{folder} lacks {len(missing)} of {len(prompts) * images_per_prompt} images: {_first(missing)}; "
            f"make them, or give the prompts and images per prompt that were made"
        )
    surplus = [str(paths[n]) for paths in found for n in sorted(paths.keys() - expected)]
    surplus += [str(p) for p in sorted(folder.iterdir()) if p.name.isdigit() and int(p.name) >= len(prompts)]
    if surplus:
        raise ValueError(
            f"{folder} holds more than {len(prompts)} prompts x {images_per_prompt} images: {_first(surplus)}; "
            f"remove them, or give the prompts and images per prompt that were made"
        )
    for index, metadata in enumerate(prompts):
        _check_same_prompt(metadata_file(folder, index), metadata)
    return [
        PromptImages(index, metadata, [paths[number] for number in sorted(paths)])
        for index, (metadata, paths) in enumerate(zip(prompts, found, strict=True))
    ]


def load_images(paths: Sequence[Path]) -> UInt8[Tensor, "k 3 height width"]:
    """The images (RGB) of one prompt, turned as their EXIF entries say, as GenEval's own evaluator turns them.

    Raises ValueError when their sizes differ, or when a file cannot be shown as 8-bit RGB without loss.
    """
    images = [torch.from_numpy(np.array(_rgb(path))).permute(2, 0, 1) for path in paths]
    if len({image.shape for image in images}) > 1:
        raise ValueError(f"the images of {paths[0].parent} differ in size; make all images of a prompt of one size")
    return torch.stack(images)


def _rgb(path: Path) -> Image.Image:
    """The image in RGB; Pillow would cut 16-bit values off at 255, and show what lies under transparent pixels."""
    try:
        with open_image(path.read_bytes()) as image:
            shown = upright(image)
    except Unusable as problem:
        raise ValueError(f"{path} cannot be read: {problem}; save it again, as RGB with 8 bits a channel") from problem
    if shown.mode == "RGBA" and np.array(shown)[..., 3].min() < 255:
        raise ValueError(f"{path} has transparent pixels; save it as RGB on the background that it belongs to")
    return shown.convert("RGB")


def _png(image: UInt8[Tensor, "3 height width"]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).cpu().numpy()).save(stream, "PNG")
    return stream.getvalue()


def _numbered_images(samples: Path) -> dict[int, Path]:
    """Number to file; the official script writes five digits, its README shows four, and its evaluator takes any."""
    images = sorted(path for path in samples.glob("*.png") if re.fullmatch(r"\d+\.png", path.name))
    numbered = {int(path.stem): path for path in images}
    if len(numbered) < len(images):
        raise ValueError(f"{samples} has two images of the same number, as in 0001.png and 00001.png; remove one")
    return numbered


def _check_same_prompt(path: Path, metadata: Metadata) -> None:
    if not path.is_file():
        raise ValueError(f"{path} is missing: it tells for which prompt the images were made")
    (own, *more) = read_metadata(path)
    if more or any(own.get(key) != metadata.get(key) for key in OFFICIAL_KEYS):
        raise ValueError(f"{path} is for {own['prompt']!r}, not for {metadata['prompt']!r}: give the prompts used")


def _first(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def task_scores(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Tag to ``{"score", "n"}`` over rows with ``tag`` and ``correct`` (one per image), in order of appearance.

    ``overall`` is the unweighted mean of the tags' scores with the number of all images, as in ``summary_scores.py``.
    """
    by_tag: dict[str, list[bool]] = {}
    for row in rows:
        by_tag.setdefault(row["tag"], []).append(bool(row["correct"]))
    if not by_tag:
        raise ValueError("no rows to score: give one row with tag and correct for every image")
    scores: dict[str, dict[str, float]] = {
        tag: {"score": sum(correct) / len(correct), "n": len(correct)} for tag, correct in by_tag.items()
    }
    overall = sum(entry["score"] for entry in scores.values()) / len(scores)
    return {**scores, "overall": {"score": overall, "n": sum(len(correct) for correct in by_tag.values())}}


class GenEvalResult(NamedTuple):
    """One judged image; ``details`` are its objects, class to ``[x1, y1, x2, y2, score]`` in pixels."""

    filename: str
    tag: str
    prompt: str
    correct: bool
    reason: str
    metadata: Metadata
    details: dict[str, list[list[float]]]


class Summary(NamedTuple):
    """What the official script prints; shares lie in [0, 1], ``tasks`` maps a tag to ``{"score", "n"}``.

    ``correct_prompts`` is the share of prompts with at least one correct image. ``overall`` is the unweighted mean of
    the tasks' scores.
    """

    images: int
    prompts: int
    correct_images: float
    correct_prompts: float
    tasks: dict[str, dict[str, float]]
    overall: float


def judge_objects(filename: str, objects: Objects, metadata: Metadata) -> GenEvalResult:
    """Decide one image from the objects that were selected for its prompt (``detectors.base.objects_for``)."""
    correct, reason = evaluate_image(objects, metadata)
    details = {name: [[float(value) for value in box[:5]] for box in boxes] for name, boxes in objects.items()}
    return GenEvalResult(filename, metadata["tag"], metadata["prompt"], correct, reason, metadata, details)


def write_results(path: Path, results: Sequence[GenEvalResult]) -> None:
    """Write the results file."""
    rows = (
        result._asdict() | {"metadata": json.dumps(result.metadata), "details": json.dumps(result.details)}
        for result in results
    )
    write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows))


def read_results(path: Path) -> list[GenEvalResult]:
    """The results of a file, ours or official.

    Raises ValueError with file and line for a line that is no JSON object or lacks a column.
    """
    lines = read_text(path).split("\n")
    return [_parse_result(line, f"{path}, line {n}") for n, line in enumerate(lines, start=1) if line.strip()]


def _parse_result(line: str, place: str) -> GenEvalResult:
    try:
        row = json.loads(line)
        nested = {key: json.loads(row[key]) for key in ("metadata", "details")}
        return GenEvalResult(
            **{key: row[key] for key in GenEvalResult._fields} | nested | {"correct": bool(row["correct"])}
        )
    except KeyError as error:
        raise ValueError(f"{place}: no {error}; results need {', '.join(GenEvalResult._fields)}") from error
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(
            f"{place}: {error}; every line is one JSON object whose metadata and details are JSON strings"
        ) from error


def summarise(results: Sequence[GenEvalResult]) -> Summary:
    """The official summary of all images; raises ValueError when there are none."""
    tasks = task_scores({"tag": result.tag, "correct": result.correct} for result in results)
    overall = tasks.pop("overall")["score"]
    prompts: dict[str, bool] = {}
    for result in results:
        key = json.dumps(result.metadata)
        prompts[key] = prompts.get(key, False) or result.correct
    return Summary(
        images=len(results),
        prompts=len(prompts),
        correct_images=sum(result.correct for result in results) / len(results),
        correct_prompts=sum(prompts.values()) / len(prompts),
        tasks=tasks,
        overall=overall,
    )


def format_summary(summary: Summary, name: str) -> str:
    """A text for people, under the name of what is summed up: a results file, or a score and its detector."""
    lines = [
        f"{name}: {summary.images} images of {summary.prompts} prompts",
        f"correct images   {summary.correct_images:.2%}",
        f"correct prompts  {summary.correct_prompts:.2%}",
        *(f"{tag:<16} {task['score']:.2%} of {task['n']:.0f}" for tag, task in summary.tasks.items()),
        f"overall          {summary.overall:.5f}",
    ]
    return "\n".join(lines) + "\n"
