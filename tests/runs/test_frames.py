"""Frames of runs and items: from one run, a study and a folder of runs; numbers of the files; no torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import unimm

REPORTS = Path(__file__).parents[2] / "reports"
RUN = REPORTS / "design_choices" / "runs" / "vae_fm" / "seed1"
RESULT = json.loads((RUN / "result.json").read_text())
KEPT = json.loads((RUN / "items.json").read_text())


def test_a_row_a_run_holds_its_scores_counts_and_cost() -> None:
    (row,) = unimm.load_runs(RUN).to_dict("records")
    assert (row["folder"], row["arm"], row["seed"], row["profile"]) == (".", "vae_fm", 1, "nano")
    assert row["generation_samples"] == 64000 and row["train_flops"] == RESULT["efficiency"]["train_flops"]
    assert row["train_seconds"] == RESULT["speed"]["train_seconds"]
    assert {score["name"]: row[score["name"]] for score in RESULT["scores"]} == {
        score["name"]: pytest.approx(score["value"]) for score in RESULT["scores"]
    }


def test_a_study_has_a_row_for_every_arm_and_seed() -> None:
    runs = unimm.load_runs(REPORTS / "design_choices")
    assert len(runs) == 24 and (runs.groupby("arm")["seed"].nunique() == 3).all()
    assert runs["geneval/overall"].between(0, 1).all()


def test_the_stages_of_a_run_are_no_runs() -> None:
    runs = unimm.load_runs(str(REPORTS / "instruction_data"))
    assert sorted(runs["folder"]) == [
        f"runs/{arm}/seed{seed}" for arm in ("instruct_clean", "instruct_photo") for seed in (0, 1, 2)
    ]


def test_a_row_an_item_holds_the_value_that_the_score_is_the_mean_of() -> None:
    items = unimm.load_items(RUN)
    strict = items[items["score"] == "geneval/counting"]
    value = next(score["value"] for score in RESULT["scores"] if score["name"] == "geneval/counting")
    assert set(strict["tag"]) == {"counting"} and strict["value"].mean() == pytest.approx(value)
    assert strict["prompt"].tolist() == [KEPT["prompts"][number]["prompt"] for number in strict["item"]]
    questions = items[items["score"].str.startswith("understanding/")]
    assert len(questions) > 0 and questions["prompt"].isna().all()
    assert len(items) == sum(value is not None for values in KEPT["scores"].values() for value in values)


def test_items_of_a_folder_of_runs_say_whose_they_are(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(RUN / "result.json", tmp_path / name)
    shutil.copy(RUN / "items.json", tmp_path / "b")
    assert set(unimm.load_items(tmp_path)["folder"]) == {"b"}, "a run that kept no items has none"
    assert unimm.load_runs(tmp_path)["folder"].tolist() == ["a", "b"]


def test_what_is_missing_or_malformed_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no finished run \(none has result\.json\)"):
        unimm.load_runs(tmp_path)
    shutil.copy(RUN / "result.json", tmp_path)
    with pytest.raises(ValueError, match=r"has items\.json: score it again"):
        unimm.load_items(tmp_path)
    (tmp_path / "items.json").write_text("[]")
    with pytest.raises(ValueError, match=r"items\.json does not follow docs/result\.md"):
        unimm.load_items(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(ValueError, match=r"result\.json does not follow docs/result\.md"):
        unimm.load_runs(tmp_path)


def test_import_is_light_and_frames_need_no_torch() -> None:
    code = (
        "import sys, unimm\n"
        "assert not {'torch', 'pandas', 'numpy'} & set(sys.modules)\n"
        f"unimm.load_items({str(RUN)!r})\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
