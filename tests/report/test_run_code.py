"""A page says which code made its runs, and warns where the runs of one claim come from different code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from synthetic_study import write_study

from unimm.report.study import page
from unimm.report.study.folder import Study, read
from unimm.report.study.run_code import code_rows, code_warning

PAIR = "clip_over_vae_alignment"  # clip_fm and vae_fm
SAME = {"files": "aaaa", "version": "0.1.0", "commit": "c" * 40, "dirty": False}
OTHER = SAME | {"files": "bbbb", "dirty": True}


def study_with(folder: Path, code: dict[str, dict[str, Any]], key: str = "code") -> Study:
    """The study with the code of some runs (`arm/seed0`) replaced; empty for a run that does not say it."""
    for path in folder.glob("runs/*/*/result.json"):
        result = json.loads(path.read_text())
        name = f"{path.parents[1].name}/{path.parent.name}"
        result |= {"code": {"unimm": SAME}, "scored_by": {}} | ({key: code[name]} if name in code else {})
        path.write_text(json.dumps(result))
    return read(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


def warned(study: Study) -> dict[str, str]:
    return {claim.id: code_warning(study, claim) for claim in study.plan.claims.claims}


def test_runs_of_one_code_are_not_warned_of_whatever_git_says(folder: Path) -> None:
    moved = {"vae_fm/seed0": {"unimm": SAME | {"commit": "d" * 40}}}
    study = study_with(folder, moved)
    assert set(warned(study).values()) == {""}
    rows = dict(code_rows(study))["code of the runs: unimm"]
    assert rows == "0.1.0, commit cccccccccccc (files aaaa); 0.1.0, commit dddddddddddd (files aaaa)"


def test_claims_whose_runs_come_from_different_code_say_so(folder: Path) -> None:
    found = warned(study_with(folder, {"vae_fm/seed1": {"unimm": OTHER}}))
    assert found[PAIR] == (
        " Mind: its runs come from different code of unimm: clip_fm seed 0, clip_fm seed 1, clip_fm seed 2, "
        "vae_fm seed 0 and 1 more by 0.1.0, commit cccccccccccc (files aaaa); vae_fm seed 1 by 0.1.0, commit "
        "cccccccccccc with changes (files bbbb)."
    )
    assert found["fm_over_mse_quality"] == "", "its arms are others"


def test_a_run_that_says_nothing_or_was_scored_again_is_named(folder: Path) -> None:
    assert "vae_fm seed 2 by not recorded" in warned(study_with(folder, {"vae_fm/seed2": {}}))[PAIR]
    again = study_with(folder, {"vae_fm/seed2": {"unimm": OTHER}}, "scored_by")
    assert "vae_fm seed 2 by 0.1.0, commit cccccccccccc with changes" in warned(again)[PAIR]
    assert "code of the runs: unimm, scored again" in dict(code_rows(again))


def test_only_arms_with_a_plug_in_are_compared_in_it(folder: Path) -> None:
    mine = {f"clip_fm/seed{seed}": {"unimm": SAME, "mine": SAME} for seed in range(3)}
    assert warned(study_with(folder, mine))[PAIR] == ""
    mine["clip_fm/seed1"] = {"unimm": SAME, "mine": OTHER}
    assert "different code of mine: " in warned(study_with(folder, mine))[PAIR]


def test_the_warning_stands_in_the_answer_and_changes_no_verdict(folder: Path) -> None:
    study_with(folder, {})
    before = page.build(folder)
    study_with(folder, {"vae_fm/seed1": {"unimm": OTHER}})
    after = page.build(folder)
    assert [answer.verdict for answer in after.answers] == [answer.verdict for answer in before.answers]
    told = {answer.claim.id: answer.sentence for answer in after.answers}
    assert "Mind: its runs come from different code of unimm" in told[PAIR]
    assert "code of the runs: unimm" in {row[0] for row in after.tables["provenance"].rows}
