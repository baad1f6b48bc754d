"""A study is checked before it costs anything: what no run can mend is refused, what leaves a claim open is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from unimm.analysis.claims import Claim, Claims
from unimm.analysis.judging import FactCard, KindRead
from unimm.cli import app
from unimm.evaluation.metric import Metric
from unimm.evaluation.words import Words
from unimm.registry import metrics
from unimm.report.study.evidence import FACTS, GUARDS
from unimm.runs.planned import PlannedArm, config_hash
from unimm.study import check as study_check
from unimm.study.check import Kind, check
from unimm.study.expand import expand_study
from unimm.study.launch import freeze_study
from unimm.study.plan import StudyPlan
from unimm.study.schema import StudyFile

ROOT = Path(__file__).parents[2]
ABLATIONS = ROOT / "ablations"
CLAIM = {
    "id": "c",
    "text": "So it is.",
    "kind": "difference",
    "role": "primary",
    "metric": "geneval/overall",
    "direction": "higher",
    "budget": "generation_samples",
    "contrast": {"clip_fm": 1, "vae_fm": -1},
    "smallest_effect": 0.02,
    "guards": ["complete", "budgets_match", "judge_passes", "within_range"],
}
FACT = {"id": "f", "text": "It holds.", "kind": "invariant", "holds": {"backbone_unchanged": ["clip_fm"]}}
DISTANCE = {"metric": "frechet_distance", "direction": "lower", "guards": ["complete"]}


def write_study(folder: Path, claim: Mapping[str, Any] = CLAIM, **changes: Any) -> Path:
    (folder / "claims.yaml").write_text(yaml.safe_dump({"alpha": 0.05, "claims": [dict(claim)]}))
    content = {
        "question": "Which features?",
        "profile": "nano",
        "seeds": 3,
        "arms": [str(ABLATIONS / "clip_fm.yaml"), str(ABLATIONS / "vae_fm.yaml")],
        "declared_differences": ["encoder"],
        "claims": "claims.yaml",
        **changes,
    }
    path = folder / "features.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> StudyPlan:
    return expand_study(write_study(tmp_path_factory.mktemp("study")))


def claiming(plan: StudyPlan, *claims: Mapping[str, Any]) -> StudyPlan:
    return replace(plan, claims={"alpha": 0.05, "claims": [dict(claim) for claim in claims]})


def with_settings(plan: StudyPlan, section: str, only: str = "", **settings: Any) -> StudyPlan:
    """The plan with settings of a section in every arm, or in one."""
    arms = {}
    for name, arm in plan.arms.items():
        changed = {section: {**arm.config[section], **(settings if only in ("", name) else {})}}
        config = {**arm.config, **changed}
        arms[name] = PlannedArm(arm.file, config_hash(config), config)
    return replace(plan, arms=arms)


def test_a_sound_study_has_no_findings(plan: StudyPlan) -> None:
    assert check(claiming(plan, CLAIM, CLAIM | DISTANCE | {"id": "d"}, FACT)) == []


@pytest.mark.parametrize("name", ["design_choices", "as_published", "caption_mix", "instruction_data"])
def test_every_claim_of_the_shipped_studies_can_get_a_verdict(name: str) -> None:
    assert check(expand_study(ABLATIONS / "studies" / f"{name}.yaml")) == []


@pytest.mark.parametrize(
    ("claim", "fragment"),
    [
        (CLAIM | {"metric": "fid", "direction": "lower"}, "nothing scores 'fid' in clip_fm"),
        (CLAIM | {"metric": "geneval_long/overall"}, "did you mean 'geneval/overall'?"),
        (CLAIM | {"direction": "lower"}, "higher is better of geneval/overall; write higher and exchange the arms"),
        (CLAIM | DISTANCE | {"direction": "higher"}, "lower is better of frechet_distance"),
        (FACT | {"guards": ["complete", "within_range"]}, "within_range looks at numbers, and a fact has none"),
    ],
)
def test_what_no_run_can_mend_is_a_mistake(plan: StudyPlan, claim: dict[str, Any], fragment: str) -> None:
    (found,) = check(claiming(plan, claim))
    assert found.kind is Kind.MISTAKE and fragment in str(found)


def test_a_way_to_sample_is_one_of_the_arms_and_of_scores_that_are_taken_of_it(plan: StudyPlan) -> None:
    also = {"guidance": [1.0, 3.0], "decoder": ["x/noised"], "prompts_per_task": 20, "choose_on": 0}
    sampled = with_settings(plan, "sampling", also=also)
    for way in ("guidance=1", "decoder=noised"):
        assert check(claiming(sampled, CLAIM | {"metric": f"geneval@{way}/overall"})) == []
    cases = {
        "clip_fm, vae_fm is not sampled at 'guidance=1'; name it under sampling.also": (plan, "guidance=1"),
        "did you mean 'guidance=1'?": (sampled, "guidance=11"),
        "is scored once, as the arm samples by itself": (sampled, "guidance=3"),
    }
    for fragment, (studied, way) in cases.items():
        metric = "understanding" if "once" in fragment else "geneval"
        (found,) = check(claiming(studied, CLAIM | {"metric": f"{metric}@{way}/overall"}))
        assert found.kind is Kind.MISTAKE and fragment in str(found), found
    distance = CLAIM | DISTANCE | {"metric": "frechet_distance@guidance=1"}
    (found,) = check(claiming(sampled, distance))
    assert "of 120 images is biased upwards" in str(found) and "sampling.also.prompts_per_task" in str(found)
    flops = CLAIM | {"metric": "geneval@guidance=1/overall", "budget": "flops", "guards": []}
    assert "have no geneval@guidance=1/overall" in str(check(claiming(sampled, flops))[0])


def test_a_clip_of_the_users_takes_the_place_of_the_foundations(plan: StudyPlan) -> None:
    brought = with_settings(plan, "evaluation", clip="open_clip:DIR")
    for planned, metric, said in (
        (plan, "clip_score/own", "nothing scores 'clip_score/own': clip_fm has no evaluation.clip"),
        (brought, "r_precision/a", "nothing scores 'r_precision/a': evaluation.clip of clip_fm takes its evaluator's"),
    ):
        (found,) = check(claiming(planned, CLAIM | {"metric": metric, "guards": []}))
        assert found.kind is Kind.MISTAKE and said in str(found)
    assert check(claiming(brought, CLAIM | {"metric": "clip_score/own", "guards": []})) == []


@pytest.mark.parametrize("metric", ["clip_score/own", "geneval[mask2former/DIR]/overall"])
def test_who_scores_needs_pictures_to_be_tried_on(plan: StudyPlan, metric: str) -> None:
    judge = {"name": "mask2former", "source": "S", "colours": "C"}
    judged: dict[str, Any] = {"clip": "open_clip:DIR", "judge": [judge], "prompts": "geneval"}
    claimed = claiming(plan, CLAIM | {"metric": metric, "guards": []})
    (found,) = check(with_settings(claimed, "evaluation", **judged))
    assert found.kind is Kind.NO_VERDICT and "guard judge_card: clip_fm has no pictures to try" in str(found)
    assert check(with_settings(claimed, "evaluation", **judged, judge_labels="labels.jsonl")) == []


def test_an_evaluator_that_fails_its_card_is_named_before_a_run(
    plan: StudyPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = claiming(plan, CLAIM | {"metric": "clip_score/a", "guards": ["judge_passes"]})
    fits = with_settings(fits, "evaluation", metrics=["clip_score"])
    (found,) = check(fits)
    assert found.kind is Kind.NO_VERDICT
    assert "guard judge_card: evaluator a fails its card (object 0.50; count 0.33" in str(found)
    right = {"colour": KindRead(true=40, accepted=40, false=40, found=0)}
    passing = FactCard(source="by hand", pictures=40, kinds=right)
    monkeypatch.setattr(study_check, "_evaluators", lambda *_: {"evaluator a": passing})
    assert check(fits) == []


def test_what_leaves_a_claim_without_a_verdict_is_said(plan: StudyPlan) -> None:
    flops = CLAIM | {"budget": "flops", "metric": "understanding/overall", "guards": []}
    cases = {
        "frechet_distance of 350 images is biased upwards: it takes 640": with_settings(
            claiming(plan, CLAIM | DISTANCE), "evaluation", images_per_prompt=1
        ),
        "guard budgets_match: arms spend 64,000 samples in 2,000 steps by clip_fm; 32,000": with_settings(
            claiming(plan, CLAIM), "training", only="vae_fm", samples=32000
        ),
        "guard judge_passes: the judge is tried by the metric geneval, which clip_fm, vae_fm": with_settings(
            claiming(plan, CLAIM | DISTANCE | {"guards": ["judge_passes"]}), "evaluation", metrics=["distance"]
        ),
        "guard within_range: frechet_distance has no floor": claiming(
            plan, CLAIM | DISTANCE | {"guards": ["within_range"]}
        ),
        "have no understanding/overall": claiming(plan, flops),
        "take two snapshots of clip_fm, vae_fm": with_settings(
            claiming(plan, CLAIM | {"budget": "flops", "guards": []}), "training", snapshots=0
        ),
        "a diagnostic of an evaluator's bias": claiming(
            plan, CLAIM | {"metric": "bias/clip_score/target", "guards": ["complete"]}
        ),
    }
    for fragment, studied in cases.items():
        (found,) = check(studied)
        assert found.kind is Kind.NO_VERDICT and str(found).startswith("claim 'c' cannot get a verdict: "), found
        assert fragment in str(found)


def test_a_judges_score_takes_a_judge_in_every_arm(plan: StudyPlan) -> None:
    claim = CLAIM | {"metric": "geneval[m2f]/overall"}
    (found,) = check(claiming(plan, claim))
    assert found.kind is Kind.MISTAKE and "and clip_fm, vae_fm has no evaluation.judge" in str(found)


def test_few_seeds_and_factors_with_one_level_are_noted(plan: StudyPlan) -> None:
    few = replace(plan, seeds=[0, 1], declared_differences=["encoder", "objective"])
    notes = check(few)
    assert [each.kind for each in notes] == [Kind.NOTE] * 2
    assert str(notes[0]).startswith("2 seeds an arm: descriptive, without verdicts, which take 3")
    assert str(notes[1]) == "objective: every arm has the same, so that nothing is compared by it"


class Roughness(Metric):
    """A plug-in's."""

    needs = frozenset({"images"})
    words = {"roughness": Words("Texture", "roughness", better="lower")}  # noqa: RUF012

    def __init__(self, config: Any, foundation: Any) -> None:
        """Nothing."""

    def score(self, evidence: Any) -> list[Any]:
        return []


class Silent(Roughness):
    """One that does not say what it scores."""

    words = {}  # noqa: RUF012


def test_scores_of_plug_in_metrics_are_those_in_their_words(plan: StudyPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Roughness, "Config", metrics.config_class("geneval"), raising=False)
    for name, metric in (("rough", Roughness), ("silent", Silent)):
        monkeypatch.setitem(metrics._targets, name, metric)
    rough = with_settings(plan, "evaluation", metrics=["geneval", "rough"])
    claim = CLAIM | {"metric": "roughness", "direction": "lower"}
    assert check(claiming(rough, claim)) == []
    assert "lower is better of roughness" in str(check(claiming(rough, CLAIM | {"metric": "roughness"}))[0])
    assert "did you mean 'roughness'?" in str(check(claiming(rough, claim | {"metric": "roughnes"}))[0])
    silent = with_settings(plan, "evaluation", metrics=["geneval", "silent"])
    (note,) = check(claiming(silent, claim))
    assert note.kind is Kind.NOTE and "whether silent scores 'roughness' only runs can tell" in str(note)


def test_a_new_plan_with_a_mistake_is_refused_and_a_frozen_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = write_study(tmp_path, CLAIM | {"direction": "lower"}, profile="tiny")
    with pytest.raises(ValueError, match=r"features.yaml: claim 'c' is wrong: direction"):
        freeze_study(wrong, tmp_path / "study")
    assert not (tmp_path / "study").exists()
    with monkeypatch.context() as earlier:
        earlier.setattr("unimm.study.launch.refuse_mistakes", lambda path, plan: None)
        frozen = freeze_study(wrong, tmp_path / "study")
    assert freeze_study(wrong, tmp_path / "study") == frozen


def test_the_command_counts_claims_that_can_get_a_verdict(tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    sound = CliRunner().invoke(app, ["study", "check", str(write_study(tmp_path / "sound"))])
    assert (sound.exit_code, sound.stdout) == (0, "features: 1 of 1 claim can get a verdict\n")
    blind = write_study(tmp_path, CLAIM | DISTANCE, profile="tiny", seeds=1)
    told = CliRunner().invoke(app, ["study", "check", str(blind)])
    first, second, last = told.stdout.splitlines()
    assert told.exit_code == 1 and last == "features: 0 of 1 claim can get a verdict"
    assert first.startswith("1 seed an arm: descriptive") and "frechet_distance of 8 images" in second
    one = CliRunner().invoke(app, ["study", "power", str(blind)])
    assert one.exit_code == 0 and "1 seed an arm shows no spread" in one.stdout and "descriptive" in one.stderr


@pytest.mark.parametrize(
    ("verb", "file", "fragment"),
    [
        ("tune", "studies/design_choices.yaml", "is a study file: run it with `unimm study run"),
        ("run", "studies/tuning.yaml", "is a tuning file: run it with `unimm study tune"),
        ("check", "studies/claims.yaml", "is a claims file: give the study file whose `claims` names it"),
        ("check", "clip_fm.yaml", "is an arm's file: run it with `unimm run"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(
    verb: str, file: str, fragment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, ["study", verb, str(ABLATIONS / file)])
    assert told.exit_code == 2 and fragment in told.stderr and "is required" not in told.stderr
    assert not list(tmp_path.iterdir())


def test_the_page_of_claims_has_every_field_kind_guard_and_fact() -> None:
    page = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    models: tuple[type[BaseModel], ...] = (Claims, *get_args(Claim))
    fields = {name for model in models for name in model.model_fields}
    kinds = {get_args(model.model_fields["kind"].annotation)[0] for model in models[1:]}
    assert {name for name in {*fields, *kinds, *GUARDS, *FACTS} if f"`{name}`" not in page} == set()


def test_more_seeds_than_memory_holds_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="more than 10,000 seeds"):
        StudyFile.model_validate({"arms": ["vae_fm.yaml"], "seeds": 10**12})
