"""JSON logs of evaluation harnesses as rows: FOLDER/ARM/seedK/ holds what a harness wrote of that run, anywhere below.

    lm-evaluation-harness  `results_*.json`: `results` maps tasks to `metric,filter` and value; `samples_TASK_*.jsonl`
                           beside it (`--log_samples`) has the value of every question under the metric's name
    inspect                a log in JSON: `results.scores` has the metrics of each scorer, `samples` a score of each
                           question; C and I count as 1 and 0, P as 0.5, N as 0; epochs of a question are averaged

Neither knows of which training seed a model is, which the folder's name therefore says. A metric is called TASK/METRIC,
with [FILTER] or [SCORER] where there are several. By question only plain means are read: another metric has one value.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from unimm.files import parse_json, read_object, read_text
from unimm.report.imported.table import Row, checked

Cells = tuple[str, dict[str, str]]
AGAIN = "copy it again"
MEANS, SAME = ("accuracy", "mean"), 1e-6
LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
NO_SCORES = ("alias", "name", "sample_len", "sample_count", "samples")


def read_logs(folder: Path) -> list[Row]:
    """The rows of every log below a folder; ValueError names a file that is no log, or a place without arm or seed."""
    return checked((cells for path in sorted(folder.rglob("*.json")) for cells in _log(folder, path)), str(folder))


def _log(folder: Path, path: Path) -> Iterator[Cells]:
    content = read_object(path, AGAIN)
    run = _run(folder, path)
    results = content.get("results")
    if isinstance(content.get("eval"), dict):
        if content.get("status") != "success" or not isinstance(results, dict):
            raise ValueError(
                f"{path}: this evaluation ended with status {content.get('status')!r}: finish it, or remove it"
            )
        yield from _inspect(path, run, content)
    elif isinstance(results, dict):
        yield from _lm_eval(path, run, content)
    else:
        raise ValueError(f"{path} is no log of lm-evaluation-harness or inspect: neither `results` nor `eval` is in it")


def _run(folder: Path, path: Path) -> dict[str, str]:
    """Arm and seed from the two folders below the first."""
    arm, seed, *_ = (*path.relative_to(folder).parts[:-1], "", "")
    match = re.fullmatch(r"(?:seed[-_]?)?(\d+)", seed)
    if not arm or match is None:
        raise ValueError(f"{path} does not say of which run it is: put it into {folder}/ARM/seedK/")
    return {"arm": arm, "seed": match[1]}


def _lm_eval(path: Path, run: dict[str, str], content: Mapping[str, Any]) -> Iterator[Cells]:
    for task, scores in content["results"].items():
        asked = {key: content.get(key, {}).get(task) for key in ("versions", "n-shot")}
        protocol = json.dumps({"harness": "lm-eval", **asked}, sort_keys=True)
        count = content.get("n-samples", {}).get(task, {}).get("effective")
        questions = _lm_eval_questions(path, task)
        for key, value in scores.items():
            metric, _, chosen = key.partition(",")
            if metric.endswith("_stderr") or metric in NO_SCORES:
                continue
            name = f"{task}/{metric}" + (f"[{chosen}]" if chosen not in ("", "none") else "")
            row = {**run, "metric": name, "value": _text(value), "unit": "question", "protocol": protocol}
            yield str(path), row | ({"n": str(count)} if count is not None else {})
            yield from _by_question(path, row, questions.get((metric, chosen or "none"), {}))


def _lm_eval_questions(path: Path, task: str) -> dict[tuple[str, str], dict[str, float]]:
    """(metric, filter) -> question -> value, of the samples written with the results."""
    stamp = path.stem.removeprefix("results")
    file = path.with_name(f"samples_{task}{stamp}.jsonl")
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for number, line in enumerate(read_text(file).splitlines() if file.is_file() else (), start=1):
        row = parse_json(line, f"{file}, line {number}", AGAIN)
        for metric, value in row.items():
            if isinstance(value, int | float) and metric != "doc_id":
                found[metric, str(row.get("filter", "none"))][str(row["doc_id"])] = float(value)
    return found


def _inspect(path: Path, run: dict[str, str], content: Mapping[str, Any]) -> Iterator[Cells]:
    task, scorers = content["eval"].get("task", path.stem), content["results"].get("scores", [])
    for scorer in scorers:
        dataset = (content["eval"].get("dataset") or {}).get("name")
        protocol = json.dumps(
            {"harness": "inspect", "scorer": scorer.get("scorer"), "dataset": dataset}, sort_keys=True
        )
        for metric, entry in scorer.get("metrics", {}).items():
            if metric.startswith("stderr"):
                continue
            name = f"{task}/{metric}" + (f"[{scorer['name']}]" if len(scorers) > 1 else "")
            row = {**run, "metric": name, "value": _text(entry["value"]), "unit": "question", "protocol": protocol}
            yield str(path), row
            if metric in MEANS:
                yield from _by_question(path, row, _inspect_questions(content, scorer["name"]))


def _inspect_questions(content: Mapping[str, Any], scorer: str) -> dict[str, float]:
    """Question -> mean over its epochs; none unless every one has a number."""
    found: dict[str, list[float]] = defaultdict(list)
    for sample in content.get("samples") or ():
        value = (sample.get("scores") or {}).get(scorer, {}).get("value")
        value = LETTERS.get(value) if isinstance(value, str) else value
        if not isinstance(value, int | float):
            return {}
        found[str(sample["id"])].append(float(value))
    return {question: fmean(values) for question, values in found.items()}


def _by_question(path: Path, row: dict[str, str], values: Mapping[str, float]) -> Iterator[Cells]:
    """The score of every question, where their mean is the score."""
    if values and row["value"] and abs(fmean(values.values()) - float(row["value"])) < SAME:
        for question, value in values.items():
            yield str(path), {**row, "value": repr(value), "prompt": question, "n": ""}


def _text(value: Any) -> str:
    """A value as a cell: what is no number was not measured, as "N/A" of lm-evaluation-harness."""
    return repr(float(value)) if isinstance(value, int | float) else ""
