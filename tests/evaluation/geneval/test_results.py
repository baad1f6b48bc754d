"""GenEval's results file and summary, against pandas and the published tables."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unimm.evaluation.geneval.files import (
    GenEvalResult,
    format_summary,
    judge_objects,
    read_results,
    summarise,
    write_results,
)
from unimm.evaluation.geneval.prompts import generate_prompts

PROMPTS = generate_prompts()
# README of djghosh13/geneval: percent by task (single, two, counting, colors, position, attribution) and overall.
PUBLISHED = {
    "CLIP retrieval": ((89, 22, 37, 62, 3, 0), 0.355),
    "minDALL-E": ((73, 11, 12, 37, 2, 1), 0.22667),
    "Stable Diffusion 1.5": ((97, 38, 35, 76, 4, 6), 0.42667),
    "Stable Diffusion 2.1": ((98, 51, 44, 85, 7, 17), 0.50333),
    "Stable Diffusion XL": ((98, 74, 39, 85, 15, 23), 0.55667),
    "IF-XL": ((97, 74, 66, 81, 13, 35), 0.61),
}
TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
NUMBERS = st.floats(0, 512, width=32)
# pandas guesses types: a column that holds nothing but "0" comes back as numbers. Real reasons are sentences or empty.
REASONS = st.just("") | st.text(max_size=20).map(lambda text: f"expected {text}")
BOXES = st.dictionaries(st.sampled_from(["bench", "cow"]), st.lists(st.lists(NUMBERS, min_size=5, max_size=5)))


def result(tag: str, number: int, correct: bool) -> GenEvalResult:
    metadata = {"tag": tag, "include": [{"class": "bench", "count": 1}], "prompt": f"{tag} {number}"}
    return GenEvalResult(f"{number}.png", tag, metadata["prompt"], correct, "", metadata, {})  # type: ignore[arg-type]


@st.composite
def results(draw: st.DrawFn) -> list[GenEvalResult]:
    """Some images of a few official prompts."""
    rows = []
    for metadata in draw(st.lists(st.sampled_from(PROMPTS), min_size=1, max_size=5)):
        reason, details = draw(REASONS), draw(BOXES)
        rows.append(
            GenEvalResult("a.png", metadata["tag"], metadata["prompt"], draw(st.booleans()), reason, metadata, details)
        )
    return rows


@settings(max_examples=40, deadline=None)
@given(rows=results())
def test_round_trip_and_summary_agree_with_pandas(rows: list[GenEvalResult]) -> None:
    """pandas reads the file as the official script does; a file that pandas wrote, as official ones are, reads back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.jsonl"
        write_results(path, rows)
        assert read_results(path) == rows
        frame = pd.read_json(path, orient="records", lines=True)
        frame.to_json(path, orient="records", lines=True, double_precision=15)
        assert [row[:6] for row in read_results(path)] == [row[:6] for row in rows]
    assert list(frame) == ["filename", "tag", "prompt", "correct", "reason", "metadata", "details"]
    summary = summarise(rows)
    assert summary.images == len(frame)
    assert summary.prompts == frame["metadata"].nunique()
    assert summary.correct_images == pytest.approx(frame["correct"].mean())
    assert summary.correct_prompts == pytest.approx(frame.groupby("metadata")["correct"].any().mean())
    means = frame.groupby("tag")["correct"].mean()
    assert {tag: task["score"] for tag, task in summary.tasks.items()} == pytest.approx(means.to_dict())
    assert summary.overall == pytest.approx(means.mean())


@pytest.mark.parametrize("model", PUBLISHED)
def test_overall_is_the_published_one(model: str) -> None:
    percent, overall = PUBLISHED[model]
    rows = [result(tag, n, n < share) for tag, share in zip(TASKS, percent, strict=True) for n in range(100)]
    summary = summarise(rows)
    assert round(summary.overall, 5) == overall
    assert f"{overall:.5f}" in format_summary(summary, "GenEval-protocol, detector=x").splitlines()[-1]


def test_a_prompt_is_correct_if_any_image_is() -> None:
    rows = [result("colors", 1, correct) for correct in (False, True, False, False)]
    rows += [result("colors", 2, False) for _ in range(4)]
    summary = summarise(rows)
    assert (summary.correct_images, summary.correct_prompts) == (1 / 8, 1 / 2)
    assert (summary.images, summary.prompts) == (8, 2)
    assert format_summary(summary, "GenEval-protocol, detector=x").startswith(
        "GenEval-protocol, detector=x: 8 images of 2 prompts\ncorrect images   12.50%\ncorrect prompts  50.00%\n"
    )


def test_objects_are_judged_by_the_rules_and_kept_without_their_colours() -> None:
    metadata = {"tag": "colors", "include": [{"class": "cow", "count": 1, "color": "red"}], "prompt": "a red cow"}
    box = [0, 0, 5, 5, 0.9]
    good = judge_objects("a.png", {"cow": [[*box, "red"]]}, metadata)
    bad = judge_objects("a.png", {"cow": [[*box, "blue"]]}, metadata)
    assert (good.correct, bad.correct) == (True, False)
    assert good.details == bad.details == {"cow": [box]}
    assert "red cow" in bad.reason


def test_wrong_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    write_results(path, [result("colors", 1, True)])
    row = json.loads(path.read_text())
    for changed, message in [
        ({"metadata": {}}, "JSON strings"),
        ({"details": "{"}, "JSON strings"),
    ]:
        path.write_text(json.dumps(row | changed))
        with pytest.raises(ValueError, match=rf"results\.jsonl, line 1: .*{message}"):
            read_results(path)
    del row["reason"]
    path.write_text("\n" + json.dumps(row))
    with pytest.raises(ValueError, match="line 2: no 'reason'"):
        read_results(path)


def test_no_results_are_an_error() -> None:
    with pytest.raises(ValueError, match="no rows"):
        summarise([])
