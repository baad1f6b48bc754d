"""A study whose seeds stand on draws of the foundation: which runs count, what an interval counts, what pages say."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

sys.path.insert(0, str(Path(__file__).parent))

from synthetic_study import freeze, write_study

from unimm.analysis.verdicts import Verdict, decide
from unimm.files import write_json
from unimm.report.imported import page as imported_page
from unimm.report.imported.export import export_study
from unimm.report.imported.page import import_table
from unimm.report.imported.table import read_table, write_table
from unimm.report.study import page
from unimm.report.study.evidence import evidence
from unimm.report.study.folder import read
from unimm.runs.planned import config_hash

DRAWS, SEEDS = ("scenes-a", "scenes-b", "scenes-c"), (0, 1, 2, 3, 4, 5)
SHIFT = {"scenes-a": 0.0, "scenes-b": 9.0, "scenes-c": -9.0}  # of clip_fm's distance: what a draw does
DISTANCE, PAIR = "fm_over_mse_quality", "clip_over_vae_alignment"
Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, str]:
    """The files of a study with six seeds on three draws, but for its samples, by their place in its folder."""
    folder = write_study(tmp_path_factory.mktemp("dealt"), SEEDS)
    plan = json.loads((folder / "plan.json").read_text())
    for arm in plan["arms"].values():
        arm["config"]["foundation"] = DRAWS[0]
        arm["hash"] = config_hash(arm["config"])
    freeze(folder, {key: value for key, value in plan.items() if key != "hash"} | {"dealt": list(DRAWS)})
    for arm in plan["arms"]:
        for seed, draw in zip(SEEDS, cycle(DRAWS), strict=False):
            edit(folder / "runs" / arm / f"seed{seed}" / "result.json", lambda c, on=draw: stand_on(c, on))
    files = (path for path in folder.rglob("*.json") if path.parent.name != "samples")
    return {path.relative_to(folder): path.read_text() for path in files}


def stand_on(content: dict[str, Any], draw: str) -> None:
    content["config"]["foundation"] = draw
    content["hashes"] |= {part: f"{part} of {draw}" for part in ("clip", "vae", "decoder")}
    for score in content["scores"]:
        if score["name"] == "frechet_distance" and content["arm"] == "clip_fm":
            score["value"] += SHIFT[draw]


def edit(path: Path, change: Edit) -> None:
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)


@pytest.fixture
def study(whole: dict[Path, str], tmp_path: Path) -> Path:
    for name, text in whole.items():
        (tmp_path / "study" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "study" / name).write_text(text)
    return tmp_path / "study"


def decided(folder: Path) -> dict[str, Verdict]:
    found = read(folder)
    return {verdict.claim: verdict for verdict in decide(found.plan.claims, evidence(found))}


def test_an_interval_is_that_of_the_means_of_draws(study: Path) -> None:
    verdict, found = decided(study)[DISTANCE], read(study)
    rows = [found.values(arm, "frechet_distance") for arm in ("clip_mse", "clip_fm")]
    by_draw = (rows[0] - rows[1]).reshape(2, 3).mean(axis=0)  # seeds 0 and 3 stand on the first
    assert verdict.level is not None
    interval = stats.ttest_1samp(by_draw, 0).confidence_interval(1 - verdict.level)
    assert (verdict.low, verdict.high) == pytest.approx(interval) and verdict.estimate == pytest.approx(by_draw.mean())
    assert (verdict.n_seeds, verdict.n_draws) == (6, 3)
    assert verdict.scope.startswith(
        "6 seeds an arm on 3 draws of the foundation on these prompts, by generation samples"
    )
    assert verdict.note == "paired by seed: the arms of a seed stand on one draw of the foundation"
    assert decided(study)[PAIR].n_draws == 3, "scores by prompt too"


def test_the_page_says_what_intervals_cover(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "draw", lambda *_: {})
    page.write(study)
    text = (study / "report.md").read_text()
    assert "An interval covers 3 draws of the foundation, each with 2 seeds, whose mean counts once." in text
    assert "Mean ± standard error over draws of the foundation [floor; ceiling]" in text and "6 on 3 draws" in text
    assert "| foundation scenes-b | dealt to seeds 1, 4 |" in text
    assert "scenes-a, scenes-b, scenes-c" in (study / "cards" / "clip_fm.md").read_text()


def test_a_run_on_another_foundation_than_its_seeds_does_not_count(study: Path) -> None:
    edit(study / "runs/clip_fm/seed4/result.json", lambda c: c["config"].update(foundation="scenes-a"))
    assert read(study).refused == {
        ("clip_fm", 4): "not the planned configuration: foundation is scenes-a and was planned as scenes-b"
    }


@pytest.mark.parametrize(
    ("runs", "hashes", "found"),
    [
        (
            "clip_fm/seed4",
            {"decoder": "x"},
            "decoder is decoder of scene in seed 1 of clip_fm and x in seed 4",
        ),
        ("clip_fm/seed[14]", {"vae": "another"}, "vae is another in clip_fm and vae of scenes-b in vae_fm"),
        ("*/seed[14]", {"features": "another"}, "features is fea7 in scenes-a and another in scenes-b"),
    ],
)
def test_parts_are_compared_draw_by_draw_and_judges_over_all(
    study: Path, runs: str, hashes: dict[str, str], found: str
) -> None:
    for path in study.glob(f"runs/{runs}/result.json"):
        edit(path, lambda c: c["hashes"].update(hashes))
    verdict = decided(study)[PAIR]
    assert verdict.outcome == "untestable" and verdict.note.startswith(f"guard same_foundation: {found}")


def test_two_draws_are_too_few_for_a_verdict(study: Path) -> None:
    plan = json.loads((study / "plan.json").read_text())
    freeze(
        study,
        {key: value for key, value in plan.items() if key != "hash"} | {"dealt": list(DRAWS[:2]), "seeds": [0, 1]},
    )
    assert decided(study)[PAIR].note == "clip_fm: draws of the foundation run: 2; a verdict needs 3"


def test_an_exported_table_gives_the_same_verdicts(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for figure in ("effects_figure", "scores_figure"):
        monkeypatch.setattr(imported_page, figure, lambda *_: None)
    scores, claims = export_study(study, tmp_path / "out")
    _, imported, answers = import_table(scores, claims, tmp_path / "imported")
    assert imported.draws("clip_fm") == [*DRAWS, *DRAWS]
    ours, kept = decided(study), {"estimate", "low", "high", "n_seeds", "n_draws", "n_items", "outcome"}
    for answer in answers:
        wanted = ours[answer.claim.id].model_dump(include=kept)
        assert answer.verdict.model_dump(include=kept) == pytest.approx(wanted), answer.claim.id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: {"foundation": "b"} if row["arm"] == "y" else {}, "foundation of seed 0 is b here and a above"),
        (lambda row: {"foundation": ""} if row["seed"] == 1 else {}, "column foundation: seed 1 has none"),
        (
            lambda row: {"foundation": "b"} if row["seed"] else {},
            "seeds are 1 on a, 2 on b: give every foundation as many",
        ),
    ],
)
def test_a_table_deals_one_foundation_to_a_seed_and_as_many_seeds_to_each(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, str]], message: str
) -> None:
    rows = [
        {"arm": arm, "seed": seed, "metric": "m", "value": 1.0, "foundation": "abc"[seed]}
        for arm in "xy"
        for seed in range(3)
    ]
    write_table(tmp_path / "scores.csv", [row | change(row) for row in rows])
    claim = {"id": "c", "text": "T.", "kind": "difference", "role": "primary", "metric": "m", "direction": "higher"}
    claim |= {"budget": "generation_samples", "contrast": {"x": 1, "y": -1}, "smallest_effect": 0.1}
    write_json(tmp_path / "claims.yaml", {"alpha": 0.05, "claims": [claim]})
    assert len(read_table(tmp_path / "scores.csv")) == 6
    with pytest.raises(ValueError, match=message):
        import_table(tmp_path / "scores.csv", tmp_path / "claims.yaml", tmp_path / "out")
