"""GenEval's results file and its summary, exchangeable with the official ``summary_scores.py``.

One JSON line an image with ``filename, tag, prompt, correct, reason, metadata, details``; metadata and details are
JSON *strings*, as ``evaluation/evaluate_images.py`` of djghosh13/geneval writes them: the official summary groups by
the metadata string and fails on an object.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from unimm.evaluation.geneval import evaluate_image, task_scores
from unimm.files import write_atomic
from unimm.scenes.geneval_rules import Objects
from unimm.scenes.prompts import Metadata


class Result(NamedTuple):
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


def judge_objects(filename: str, objects: Objects, metadata: Metadata) -> Result:
    """Decide one image from the objects that were selected for its prompt (``detectors.base.objects_for``)."""
    correct, reason = evaluate_image(objects, metadata)
    details = {name: [[float(value) for value in box[:5]] for box in boxes] for name, boxes in objects.items()}
    return Result(filename, metadata["tag"], metadata["prompt"], correct, reason, metadata, details)


def write_results(path: Path, results: Sequence[Result]) -> None:
    """Write the results file."""
    rows = (
        result._asdict() | {"metadata": json.dumps(result.metadata), "details": json.dumps(result.details)}
        for result in results
    )
    write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows))


def read_results(path: Path) -> list[Result]:
    """The results of a file, ours or official.

    Raises ValueError with file and line for a line that is no JSON object or lacks a column.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    return [_parse(line, f"{path}, line {n}") for n, line in enumerate(lines, start=1) if line.strip()]


def _parse(line: str, place: str) -> Result:
    try:
        row = json.loads(line)
        nested = {key: json.loads(row[key]) for key in ("metadata", "details")}
        return Result(**{key: row[key] for key in Result._fields} | nested | {"correct": bool(row["correct"])})
    except KeyError as error:
        raise ValueError(f"{place}: no {error}; results need {', '.join(Result._fields)}") from error
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(
            f"{place}: {error}; every line is one JSON object whose metadata and details are JSON strings"
        ) from error


def summarise(results: Sequence[Result]) -> Summary:
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
    """A text for people; ``name`` is the score's (``detectors.base.score_name``) and says which detector judged."""
    lines = [
        f"{name}: {summary.images} images of {summary.prompts} prompts",
        f"correct images   {summary.correct_images:.2%}",
        f"correct prompts  {summary.correct_prompts:.2%}",
        *(f"{tag:<16} {task['score']:.2%} of {task['n']:.0f}" for tag, task in summary.tasks.items()),
        f"overall          {summary.overall:.5f}",
    ]
    return "\n".join(lines) + "\n"
