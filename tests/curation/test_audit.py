"""The audit finds GenEval's prompts and templates, and near-duplicates between two sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from unimm.curation.audit import jaccard, near_duplicates, overlap, shingles, signature
from unimm.curation.cli import app
from unimm.evaluation.geneval.prompts import generate_prompts

WORDS = (
    "the",
    "a",
    "red",
    "blue",
    "cat",
    "dog",
    "house",
    "tree",
    "runs",
    "sits",
    "on",
    "under",
    "near",
    "with",
    "small",
)


@pytest.mark.parametrize(
    ("caption", "level", "task"),
    [
        ("a photo of a bench", "prompt", "single_object"),
        ("A photo of a bench.", "prompt", "single_object"),
        ("Shot indoors, a photo of a bench, in soft light", "contains", "single_object"),
        ("a photo of five benches", None, None),
        ("a photo of four computer mouses", "classes", "counting"),
        ("a photo of a pink carrot", "classes", "colors"),
        ("a photo of a soap bar", "template", "single_object"),
        ("a photo of a cabinet and a bus", "template", "two_object"),
        ("a picture of three soap bars", "template", "counting"),
        ("a photo of a lamp above a rug", "template", "position"),
        ("a photo of a red lamp and a blue rug", "template", "color_attr"),
        ("a photo of a man who walks his dog along the beach at dawn", None, None),
        ("two dogs play in the snow", None, None),
        ("", None, None),
    ],
)
def test_levels_of_overlap(caption: str, level: str | None, task: str | None) -> None:
    found = overlap(caption)
    assert (found and found.level) == level
    assert (found and found.task) == task


def test_every_prompt_of_geneval_is_found_and_fits_its_template() -> None:
    for sample in generate_prompts():
        found = overlap(sample["prompt"])
        assert found is not None
        assert found == ("prompt", sample["tag"])
        renamed = overlap(sample["prompt"].replace("a photo of", "an image of"))
        assert renamed is not None
        assert renamed.level == "classes"
        assert renamed.task == sample["tag"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=40), st.lists(st.sampled_from(WORDS), min_size=1, max_size=40)
)
def test_equal_minima_estimate_the_similarity(a, b):
    first, second = shingles(" ".join(a)), shingles(" ".join(b + a))
    equal = float((signature(first) == signature(second)).mean())
    assert abs(equal - jaccard(first, second)) < 0.2


def sentence(seed: int, length: int = 30) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, size=length))


def test_near_duplicates_are_found_and_others_are_not() -> None:
    kept = [sentence(n) for n in range(200)]
    others = [sentence(1000 + n) for n in range(100)]
    others[3] = kept[50].upper() + "!"
    others[60] = kept[120].rsplit(" ", 2)[0]
    others[61] = " ".join(kept[121].split()[:12])
    found = near_duplicates(kept, others, 0.8)
    assert [(pair.other, pair.kept) for pair in found] == [(3, 50), (60, 120)]
    assert found[0].similarity == 1.0
    assert 0.9 < found[1].similarity < 1


def test_the_command_reports_both(tmp_path: Path) -> None:
    for name, texts in {
        "train": [
            "a photo of a bench",
            "a photo of a soap bar",
            "something else entirely here",
            "two dogs in the snow",
        ],
        "test": ["Something else, entirely here!", "a cat on a mat"],
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        rows = [{"file": f"{number}.png", "caption": text} for number, text in enumerate(texts)]
        (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = [
        "audit",
        str(tmp_path / "train"),
        "--against",
        str(tmp_path / "test"),
        "--out",
        str(tmp_path / "r.json"),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "1 of 2 held-out captions have a near-duplicate here" in result.stdout
    report = json.loads((tmp_path / "r.json").read_text())
    assert {level: found["count"] for level, found in report["geneval"].items()} == {
        "prompt": 1,
        "contains": 0,
        "classes": 0,
        "template": 1,
    }
    (pair,) = report["duplicates"]["pairs"]
    assert (pair["held_out"]["key"], pair["trained_on"]["key"]) == ("0.png", "2.png")
