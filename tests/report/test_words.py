"""What pages call a plug-in's score: its own group and words, and the direction in which it gets better."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from synthetic_study import freeze, write_study

from unimm.evaluation.words import BUILT_IN, OTHER, Glossary, Words, at, card_of, condition_of, judge_of
from unimm.report import page
from unimm.report.study import compare
from unimm.report.study import page as study_page
from unimm.runs.record import Result

WORDS = {
    "roughness": {
        "group": "Texture (in levels of 255)",
        "label": "roughness of rows",
        "short": "roughness",
        "better": "lower",
        "headline": "roughness (levels)",
    },
    "sharpness": {"group": "Texture (in levels of 255)", "label": "sharpness of edges"},
}


def with_scores(result: dict[str, Any], roughness: float = 12.5) -> dict[str, Any]:
    own = {"roughness": roughness, "sharpness": 3.25, "nobody/knows": 1.5}
    result["scores"] += [{"name": name, "value": value, "n": 40, "protocol": {}} for name, value in own.items()]
    return {**result, "words": WORDS}


def table_rows(markdown: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown.splitlines() if line.startswith("| ")]


def test_a_page_shows_plugin_scores_in_their_group(run_dir: Path, golden: dict[str, Any]) -> None:
    (run_dir / "result.json").write_text(json.dumps(with_scores(golden)))
    page.write(run_dir)
    rows = {row[1]: row for row in table_rows((run_dir / "report.md").read_text()) if len(row) == 6}
    assert (
        rows["roughness of rows (lower is better)"][0] == rows["sharpness of edges"][0] == "Texture (in levels of 255)"
    )
    assert rows["nobody/knows"][0] == OTHER


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study whose runs have the plug-in's scores; flow matching's images are less rough."""
    write_study(tmp_path, seeds=(0, 1, 2))
    for path in tmp_path.glob("runs/*/seed*/result.json"):
        content = json.loads(path.read_text())
        smooth = "fm" in path.parts[-3]
        path.write_text(json.dumps(with_scores(content, 5.0 - smooth + 0.01 * content["seed"])))
    plan = json.loads((tmp_path / "plan.json").read_text())
    claim = {
        "id": "less_rough",
        "text": "Flow matching draws smoother images.",
        "kind": "best-cell",
        "role": "secondary",
        "metric": "roughness",
        "direction": "lower",
        "budget": "generation_samples",
        "smallest_effect": 0.1,
        "best": "clip_fm",
        "others": ["clip_mse", "vae_mse"],
    }
    plan["claims"]["claims"].append(claim)
    return freeze(tmp_path, plan)


def test_a_study_shows_plugin_scores_with_their_direction(study: Path) -> None:
    report = study_page.build(study)
    tables = report.tables
    assert tables["arms"].headers[-1] == "roughness (lower is better)"
    labels = {row[1]: row[0] for row in tables["scores"].rows}
    assert labels["roughness of rows (lower is better)"] == labels["sharpness of edges"] == "Texture"
    assert tables["factorial"].headers[-1] == "roughness"
    assert tables["factorial"].note.endswith("Distances, roughness: negative is better.")
    answer = next(answer for answer in report.answers if answer.claim.id == "less_rough")
    assert answer.sentence.startswith("Yes: roughness lower with clip_fm by +1")
    drawn = study_page.draw(report, ("scores", "effects"))
    assert "roughness (levels) (lower is better)" in drawn["scores"].svg.decode()
    assert "difference in roughness (right of 0: lower, as claimed)" in drawn["effects"].svg.decode()
    study_page.write_cards(report.study, report.answers, report.results.setting)
    assert "| Texture | roughness of rows (lower is better) |" in (study / "cards" / "clip_fm.md").read_text()


def test_two_studies_use_the_same_words(study: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(study_page, "draw", lambda *_: {})
    compare.write(study, study, tmp_path / "compared")
    assert "| roughness | clip_fm |" in (tmp_path / "compared" / "compare.md").read_text()


def test_words_of_a_later_version_are_read(golden: dict[str, Any]) -> None:
    golden["words"] = {"roughness": {**WORDS["roughness"], "colour": "blue"}}
    assert Result.model_validate(golden).words["roughness"].short == "roughness"


def test_a_direction_is_higher_or_lower() -> None:
    with pytest.raises(ValueError, match="say 'higher' or 'lower'"):
        Words("Texture", "roughness", better="smaller")  # type: ignore[arg-type]


def test_built_in_words_win_and_groups_stand_together() -> None:
    images = BUILT_IN["frechet_distance"].group
    glossary = Glossary({"mine": Words(images, "my distance"), "frechet_distance": Words("Mine", "mine")})
    assert glossary["frechet_distance"] is BUILT_IN["frechet_distance"]
    names = glossary.ordered({"z", "a", "mine", "frechet_distance", "copies/identical", "geneval/overall"})
    assert names == ["geneval/overall", "frechet_distance", "mine", "copies/identical", "a", "z"]
    assert list(BUILT_IN) == Glossary().ordered(BUILT_IN.keys()), "built-in groups stand together"


def test_who_scored_is_told_by_a_scores_name() -> None:
    own = {"clip_score/own": "own CLIP", "clip_score/a": "evaluator a", "r_precision/b": "evaluator b"}
    for score, card in (own | {"geneval[mine]/overall": "mine", "vqa[mine]/facts": "mine"}).items():
        assert card_of(score) == card_of(at(score, "guidance=1")) == card
    for score in ("geneval/overall", "bias/clip_score/target", "clip_score/theirs", "frechet_distance"):
        assert card_of(score) is None


HEADLINES = (
    "geneval/overall", "atoms/overall", "geneval_place/overall", "atoms_place/overall", "geneval_long/overall",
    "atoms_long/overall", "frechet_distance",
    "clip_score/a", "clip_score/own", "diversity/latents/place_entropy", "diversity/latents/vendi",
    "understanding/overall", "understanding/above_blind",
)  # fmt: skip


def test_built_in_headlines_and_directions() -> None:
    assert tuple(name for name, words in BUILT_IN.items() if words.headline) == HEADLINES
    lower = {name for name, words in BUILT_IN.items() if words.lower_is_better}
    assert {"frechet_distance", "kernel_distance", "fid"} < lower
    assert not {"density", "coverage", "geneval/overall", "understanding/overall"} & lower


def test_words_need_no_torch() -> None:
    code = "import sys, unimm.evaluation.words; print({'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_scores_of_other_ways_to_sample_have_the_words_of_their_own_and_are_no_headlines() -> None:
    judged = "geneval[mask2former/DIR]/overall"
    names = [at(name, "guidance=1.5") for name in ("geneval/overall", "kernel_distance", judged)]
    assert names == [
        "geneval@guidance=1.5/overall", "kernel_distance@guidance=1.5", "geneval[mask2former/DIR]@guidance=1.5/overall",
    ]  # fmt: skip
    assert [condition_of(name) for name in names] == [
        ("geneval/overall", "guidance=1.5"), ("kernel_distance", "guidance=1.5"), (judged, "guidance=1.5"),
    ]  # fmt: skip
    assert condition_of("geneval/overall") == ("geneval/overall", "")
    assert (judge_of(judged), judge_of(names[2]), judge_of(names[0])) == ("mask2former/DIR", "mask2former/DIR", None)
    glossary = Glossary()
    assert glossary[names[0]].short == "GenEval-style score at guidance=1.5"
    assert glossary[names[1]].lower_is_better and glossary[names[1]].label == "kernel distance"
    assert glossary.headlines({*names, "geneval/overall"}) == ["geneval/overall"]
    assert glossary.ordered({"z", *names[:2], "atoms/overall"}) == ["atoms/overall", *names[:2], "z"]
