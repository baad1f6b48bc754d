"""From run folders to evidence: numbers agree with the results, guards fail when they should, planted effects show."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from synthetic_study import ARMS, CHECKPOINTS, TASKS, each_task, freeze, mean, write_study

from unimm.analysis.claims import Claim
from unimm.analysis.results import StudyResults
from unimm.report.study import folder as study_folder
from unimm.report.study.answers import answers
from unimm.report.study.evidence import evidence
from unimm.report.study.ledger import ledger
from unimm.report.study.tables import arms_table, facets_table, factorial_table, paper_table
from unimm.runs.planned import config_hash

ATOMS = ("object", "shape", "colour", "count", "relation")
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[str, Edit], tuple[study_folder.Study, StudyResults]]:
    """A study in which the results of the arms whose names start so were edited."""

    def make(prefix: str, edit: Edit) -> tuple[study_folder.Study, StudyResults]:
        write_study(tmp_path)
        for path in tmp_path.glob(f"runs/{prefix}*/seed*/result.json"):
            content = json.loads(path.read_text())
            edit(content)
            path.write_text(json.dumps(content))
            plan_as_run(tmp_path, content)
        study = study_folder.read(tmp_path)
        return study, evidence(study)

    return make


def plan_as_run(study: Path, content: dict[str, Any]) -> None:
    """Plan an arm for as many samples as its run took."""
    plan, own = json.loads((study / "plan.json").read_text()), dict(content["config"])
    own.pop("seed")
    if plan["arms"][content["arm"]]["config"]["training"]["samples"] != own["training"]["samples"]:
        plan["arms"][content["arm"]] |= {"config": own, "hash": config_hash(own)}
        freeze(study, plan)


def claim(study: study_folder.Study, name: str) -> Claim:
    return next(claim for claim in study.plan.claims.claims if claim.id == name)


def test_scores_by_prompt_average_to_the_reported_ones(folder: Path) -> None:
    study = study_folder.read(folder)
    results = evidence(study)
    scores = results.scores["generation_samples"]["geneval/overall"]
    assert {arm: values.shape for arm, values in scores.items()} == dict.fromkeys(ARMS, (3, 120))
    assert results.tasks["geneval/overall"] == [task for task in TASKS for _ in range(20)]
    texts = results.texts["geneval/overall"]
    assert len(texts) == 120 and texts[20:22] == ["a photo of two_object 0", "a photo of two_object 1"]
    assert [texts[20 + number] == texts[20] for number in (15, 16)] == [True, False]
    for arm in ARMS:
        means = results.by_run(claim(study, "clip_fm_best_cell"), arm)  # type: ignore[arg-type]
        np.testing.assert_allclose(means, study.values(arm, "geneval/overall"), atol=1e-12)


def test_without_items_scores_are_by_run(folder: Path, tmp_path: Path) -> None:
    write_study(tmp_path)
    (tmp_path / "runs/vae_fm/seed1/items.json").unlink()
    results = evidence(study_folder.read(tmp_path))
    assert results.tasks == {}
    assert results.scores["generation_samples"]["geneval/overall"]["clip_fm"].shape == (3,)


def test_one_prompt_a_task_is_scored_by_run(edited: Any, tmp_path: Path) -> None:
    write_study(tmp_path)
    for path in tmp_path.glob("runs/*/seed*/items.json"):
        content, result = json.loads(path.read_text()), json.loads((path.parent / "result.json").read_text())
        images = result["config"]["evaluation"]["images_per_prompt"]
        first = {tag: [i for i, row in enumerate(content["prompts"]) if row["tag"] == tag][:images] for tag in TASKS}
        kept = [i for positions in first.values() for i in positions]
        content["prompts"] = [content["prompts"][i] for i in kept]
        content["scores"] = {name: [values[i] for i in kept] for name, values in content["scores"].items()}
        path.write_text(json.dumps(content))
        means = {name: mean(values) for name, values in content["scores"].items()}
        scores = {score["name"]: score for score in result["scores"]}
        for name, value in means.items():
            scores[name] |= {"value": value, "n": images}
        scores["geneval/overall"]["value"] = float(np.mean(list(means.values())))
        (path.parent / "result.json").write_text(json.dumps(result))
    study = study_folder.read(tmp_path)
    results = evidence(study)
    assert (
        not study.refused
        and results.tasks == {}
        and results.scores["generation_samples"]["geneval/overall"]["clip_fm"].shape == (3,)
    )
    assert len(answers(study, results)) == 15


def test_one_text_a_task_is_scored_by_run(tmp_path: Path) -> None:
    """Twenty prompts of one text say no more of other texts than one prompt."""
    write_study(tmp_path)
    for path in tmp_path.glob("runs/*/seed*/items.json"):
        content = json.loads(path.read_text())
        for row in content["prompts"]:
            row["prompt"] = "a photo of two birds" if row["tag"] == "counting" else row["prompt"]
        path.write_text(json.dumps(content))
    results = evidence(study_folder.read(tmp_path))
    scores = results.scores["generation_samples"]
    assert "geneval/overall" not in results.tasks and scores["geneval/overall"]["clip_fm"].shape == (3,)
    assert "geneval/colors" in results.tasks, "a task with several texts by itself is by prompt"


def test_scopes_say_over_what_an_interval_reaches(folder: Path) -> None:
    """Prompts with their texts where they are a sample, and else that the test is taken as it is."""
    study = study_folder.read(folder)
    found = {answer.claim.id: answer.verdict for answer in answers(study, evidence(study))}
    starts = {
        "clip_over_vae_alignment": "3 seeds an arm and 120 prompts of 91 texts, by generation samples",
        "fm_over_mse_quality": "3 seeds an arm on these prompts, by generation samples",
        "clip_fm_needs_fewer_flops": "3 seeds an arm on these prompts, by flops",
        "joint_loses_understanding": "3 seeds an arm on these questions, by generation samples",
        "clip_tokens_stay_fixed": "3 seeds an arm, in the world",
    }
    assert {name: found[name].scope[: len(start)] for name, start in starts.items()} == starts
    assert (found["clip_over_vae_alignment"].n_items, found["clip_over_vae_alignment"].n_texts) == (120, 91)
    assert found["clip_over_vae_alignment"].note == "", "arms that begin differently are not paired unless a claim says"


def test_one_checkpoint_is_no_curve(edited: Any) -> None:
    study, results = edited("", lambda content: content.update(curve=content["curve"][-1:]))
    found = {answer.claim.id: answer.verdict for answer in answers(study, results)}
    assert "no complete learning curve" in found["clip_fm_needs_fewer_samples"].note
    assert found["clip_over_vae_alignment"].outcome == "supported"


def test_a_first_checkpoint_beyond_the_common_flops_is_not_read_as_equal(edited: Any) -> None:
    def late(content: dict[str, Any]) -> None:
        content["curve"] = content["curve"][-2:]
        for key in ("train_flops_per_sample", "train_flops"):
            content["efficiency"][key] *= 10

    study, results = edited("vae_fm_joint", late)
    scores = results.scores["flops"]["geneval/overall"]
    assert np.isnan(scores["vae_fm_joint"]).all() and np.isfinite(scores["clip_fm"]).all()
    [verdict] = [a.verdict for a in answers(study, results) if a.claim.id.endswith("as_well_at_equal_flops")]
    assert verdict.outcome == "untestable"


def test_curves_and_scores_at_equal_flops(folder: Path) -> None:
    study = study_folder.read(folder)
    results = evidence(study)
    curve = results.curves["atoms/overall"]["vae_fm"]
    np.testing.assert_array_equal(curve.costs["generation_samples"][0], CHECKPOINTS)
    np.testing.assert_allclose(curve.costs["flops"][2], 9.0e7 * np.array(CHECKPOINTS))
    equal = results.scores["flops"]["geneval/overall"]
    last = [run.result.curve[-1].scores["geneval/overall"] for run in study.finished("clip_fm")]
    np.testing.assert_allclose(equal["clip_fm"], last, err_msg="the cheapest arm, at its end")
    assert (equal["vae_fm_joint"] < results.curves["geneval/overall"]["vae_fm_joint"].scores[:, -1]).all()


def test_planted_effects_are_found(folder: Path) -> None:
    study = study_folder.read(folder)
    outcomes = {answer.claim.id: answer.verdict.outcome for answer in answers(study, evidence(study))}
    found = ("clip_over_vae_alignment", "fm_over_mse_quality", "fm_over_mse_alignment", "fm_over_mse_diversity")
    found += ("vae_fm_best_distance", "clip_fm_best_cell", "sequential_keeps_understanding")
    found += ("joint_loses_understanding", "clip_over_vae_atoms", "fm_over_mse_atoms")
    assert {name: outcomes[name] for name in found} == dict.fromkeys(found, "supported")
    assert outcomes["clip_tokens_stay_fixed"] == "supported"


def test_equal_arms_are_not_told_apart(tmp_path: Path) -> None:
    study = study_folder.read(write_study(tmp_path, effects=False))
    verdicts = [answer.verdict for answer in answers(study, evidence(study)) if answer.role != "invariant"]
    assert {verdict.outcome for verdict in verdicts} <= {"negligible", "inconclusive", "supported"}
    supported = [verdict.claim for verdict in verdicts if verdict.outcome == "supported"]
    assert all("as_well" in name for name in supported), "only 'not worse' may hold of equal arms"


def change_count(content: dict[str, Any]) -> None:
    """Another budget, and what follows from it; the test plans it too."""
    content["config"]["training"]["samples"] += 32
    content["counts"]["generation_samples"] += 32
    content["counts"]["steps"] += 1
    content["curve"][-1]["samples"] += 32
    content["curve"][-1]["step"] += 1
    content["efficiency"]["train_flops"] += 32 * content["efficiency"]["train_flops_per_sample"]


def change_judge(content: dict[str, Any]) -> None:
    content["ceilings"]["real"] |= each_task(0.98)


def share_weights(content: dict[str, Any]) -> None:
    content["hashes"]["features"] = content["hashes"]["clip"]


def sink(content: dict[str, Any]) -> None:
    content["floors"]["shuffled_prompts"] |= each_task(0.95)


def unmeasured(content: dict[str, Any]) -> None:
    next(score for score in content["scores"] if score["name"] == "geneval/overall")["value"] = None


def too_few(content: dict[str, Any]) -> None:
    for score in content["scores"]:
        score["protocol"] = {"biased": True}


@pytest.mark.parametrize(
    ("prefix", "edit", "guard", "name", "expected"),
    [
        ("", too_few, "complete", "fm_over_mse_quality", "images is biased upwards: claim the kernel distance"),
        ("vae_fm", change_count, "budgets_match", "clip_over_vae_alignment", "arms spent 112,000 samples"),
        ("clip_fm", change_judge, "judge_passes", "clip_fm_best_cell", "accepts 98.0% of real scenes"),
        (
            "clip",
            share_weights,
            "evaluator_independent",
            "fm_over_mse_quality",
            "clip, whose weights are also features",
        ),
        ("clip", sink, "within_range", "fm_over_mse_alignment", "every arm lies within 3% of its floor"),
        ("clip_mse", sink, "within_range", "sequential_generates_as_well_at_equal_samples", "where a loss cannot show"),
        ("clip_mse", unmeasured, "complete", "fm_over_mse_alignment", "could not be measured in clip_mse, seed 0"),
    ],
)
def test_guards_fail(edited: Any, prefix: str, edit: Edit, guard: str, name: str, expected: str) -> None:
    study, results = edited(prefix, edit)
    failed = claim(study, name)
    assert expected in results.guards[guard](failed)
    [verdict] = [answer.verdict for answer in answers(study, results) if answer.claim.id == name]
    assert verdict.outcome == "untestable" and verdict.note.startswith(f"guard {guard}: ")


@pytest.mark.parametrize("among", [None, "correct images"])
def test_how_many_images_are_correct_is_a_finding_and_no_flaw(edited: Any, among: str | None) -> None:
    def counted(content: dict[str, Any]) -> None:
        for score in content["scores"]:
            if score["name"].startswith("diversity/"):
                score["n"] += content["seed"]
                score["protocol"] |= {"among": among} if among else {}

    study, results = edited("", counted)
    found = results.guards["complete"](claim(study, "fm_over_mse_diversity"))
    assert (found is None) if among else found.startswith("runs scored different numbers of items")


def test_runs_that_were_measured_differently_are_not_compared(edited: Any) -> None:
    def by_seed(content: dict[str, Any]) -> None:
        for score in content["scores"]:
            score["protocol"] = {"reference": f"images {content['seed']}"}

    study, results = edited("", by_seed)
    found = results.guards["complete"](claim(study, "fm_over_mse_quality"))
    assert found == 'runs measured frechet_distance differently: reference is "images 0" or "images 1" or "images 2"'


def test_rounding_stops_no_claim(edited: Any) -> None:
    def rounded(content: dict[str, Any]) -> None:
        for score in content["scores"]:
            score["protocol"] = {"expected bias": 2.0 + 1e-12 * content["seed"]}

    study, results = edited("", rounded)
    assert results.guards["complete"](claim(study, "fm_over_mse_quality")) is None


def test_a_bias_diagnostic_grounds_no_claim(edited: Any) -> None:
    def rename(content: dict[str, Any]) -> None:
        next(s for s in content["scores"] if s["name"] == "frechet_distance")["name"] = "bias/clip_score/target"

    study, results = edited("", rename)
    diagnostic = claim(study, "fm_over_mse_quality").model_copy(update={"metric": "bias/clip_score/target"})
    assert "no score" in results.guards["complete"](diagnostic)


UNTRIED = "was not tried on pictures whose content is known;"


@pytest.mark.parametrize(
    ("score", "clip", "mend"),
    [
        ("clip_score/own", "own CLIP", "set evaluation.judge_labels"),
        ("clip_score/a", "evaluator a", "score its runs again"),
        ("r_precision/b", "evaluator b", "score its runs again"),
    ],
)
@pytest.mark.parametrize("found", [0, 30, None])
def test_a_clip_grounds_claims_by_its_card(edited: Any, score: str, clip: str, mend: str, found: int | None) -> None:
    """One without a card, as all results of before are, grounds none."""

    def bring(content: dict[str, Any]) -> None:
        next(s for s in content["scores"] if s["name"] == "clip_score/a")["name"] = score
        colours = {"colour": {"true": 40, "accepted": 40, "false": 40, "found": found}}
        if found is not None:
            content["judge_cards"] = {clip: {"source": "by hand", "pictures": 40, "kinds": colours}}

    study, results = edited("", bring)
    fits = claim(study, "fm_over_mse_alignment").model_copy(update={"metric": score})
    said = {0: None, 30: f"{clip} fails its card (colour 0.62) in clip_fm seed 0", None: f"{clip} {UNTRIED} {mend}"}
    for guard in ("judge_card", "judge_passes"):
        assert results.guards[guard](fits) == said[found]
    assert "judge_card" in results.every_claim
    assert results.guards["judge_card"](claim(study, "fm_over_mse_alignment")) is None, "that score is the judge's"


def test_one_arm_at_the_floor_stops_no_claim_but_is_named(edited: Any) -> None:
    study, results = edited("clip_mse", sink)
    found = {answer.claim.id: answer for answer in answers(study, results)}
    answer = found["fm_over_mse_alignment"]
    assert answer.verdict.outcome == "supported" and answer.sentence.endswith("At the floor: clip_mse.")


def test_growth_with_resolution_is_read_off_every_run(edited: Any) -> None:
    study, results = edited("clip_mse", lambda content: content["resolution_scaling"][2].update(tokens=36))
    found = {answer.claim.id: answer.verdict for answer in answers(study, results)}
    verdict = found["clip_tokens_stay_fixed"]
    assert (verdict.outcome, verdict.note) == ("contradicted", "broken: tokens_fixed_over_resolution in clip_mse")
    assert results.facts["tokens_fixed_over_resolution"]["clip_fm"] == [True] * 3
    assert results.facts["cost_grows_with_resolution"]["vae_fm"] == [True] * 3
    assert results.facts["tokens_grow_with_resolution"]["clip_fm"] == [False] * 3


def test_facts_that_a_run_does_not_say_leave_the_claim_untestable(edited: Any) -> None:
    study, results = edited("vae_mse", lambda content: content.update(resolution_scaling=[]))
    answer = {answer.claim.id: answer for answer in answers(study, results)}["clip_tokens_stay_fixed"]
    assert answer.verdict.outcome == "untestable"
    assert answer.sentence == "Not tested: vae_mse: tokens_grow_with_resolution was not checked."


def test_off_plan_runs_are_named_and_count_for_nothing(edited: Any) -> None:
    study, results = edited("vae_mse_joint", lambda content: content["config"]["training"].update(learning_rate=0.1))
    reason = "not the planned configuration: training.learning_rate is 0.1 and was planned as 0.001"
    assert study.refused == {("vae_mse_joint", seed): reason for seed in range(3)}
    assert not study.finished("vae_mse_joint") and "vae_mse_joint" not in results.scores["generation_samples"]


def test_tables_agree_with_the_runs(folder: Path) -> None:
    study = study_folder.read(folder)
    results = evidence(study)
    arms = arms_table(study)
    values = study.values("clip_fm", "geneval/overall")
    error = values.std(ddof=1) / np.sqrt(3)
    assert arms.rows[0][2] == f"{values.mean():.3f} ± {error:.3f}\n[0.040; 0.930]"
    factorial = factorial_table(study, results)
    assert factorial is not None and len(factorial.rows) == 7
    main = {row[0]: row[1] for row in factorial.rows}
    assert main["objective"].startswith("+0.2") and main["objective"].endswith("*")
    paper = paper_table(study, results)
    assert paper is not None
    ordering = {row[0]: row for row in paper.rows}
    assert ordering["FID"][4] == "yes" and ordering["FID"][3].startswith("vae_fm ")
    assert ordering["GENEVAL"][1] == "clip_fm 31.9 > clip_mse 30.0 > vae_fm 21.4"


def test_a_study_of_other_arms_is_not_set_beside_the_paper(folder: Path) -> None:
    study = study_folder.read(folder)
    others = replace(study, plan=study.plan.model_copy(update={"arms": {"long_only": study.plan.arms["clip_fm"]}}))
    assert paper_table(others, evidence(study)) is None


def test_the_ledger_shows_who_was_tuned_and_where(tmp_path: Path) -> None:
    write_study(tmp_path, seeds=(0,))
    plan = json.loads((tmp_path / "plan.json").read_text())
    untuned = ledger(study_folder.read(tmp_path))
    assert rows_of(untuned)["tuning trials"] == ["none"] * 8 and "tuned settings that it lacks" not in rows_of(untuned)
    plan["tuned"] = {
        "folder": "../../reports/tuning",
        "plan": "0123",
        "metric": "atoms/overall",
        "trials": 8,
        "samples": 128_000,
        "by_sampling": ["objective.guidance", "training.ema_decay"],
        "arms": {
            "clip_fm_joint": {
                "of": "clip_fm",
                "chosen": {"training.learning_rate": 0.002, "objective.guidance": 2.0},
                "skipped": [],
            },
            "clip_mse_joint": {"of": "clip_mse", "chosen": {}, "skipped": ["objective.guidance"]},
        },
    }
    freeze(tmp_path, plan)
    study = study_folder.read(tmp_path)
    rows, arms = rows_of(ledger(study)), list(study.plan.arms)
    fm, mse, other = (arms.index(name) for name in ("clip_fm_joint", "clip_mse_joint", "vae_fm"))
    assert [rows["tuning trials"][arm] for arm in (fm, mse, other)] == ["8", "8", "none"]
    guidance = [rows["guidance chosen"][arm] for arm in (fm, mse, other)]
    assert guidance == ["by sampling, on validation prompts", "-", "in advance"]
    assert rows["learning rate chosen"][fm] == "by training, on validation prompts"
    assert rows["EMA decay chosen"][fm] == "in advance"
    assert rows["tuned settings that it lacks"][mse] == "objective.guidance"


def rows_of(table: Any) -> dict[str, list[str]]:
    return {row[0]: list(row[1:]) for row in table.rows}


def test_ledger_marks_what_differs(folder: Path) -> None:
    found = ledger(study_folder.read(folder))
    marked = {found.rows[number][0] for number in found.marked}
    assert {"objective", "parameters, trainable", "understanding samples", "guidance", "FLOPs of training"} <= marked
    assert not {"generation samples", "steps", "EMA decay", "weights: clip"} & marked


COMMITTED = Path(__file__).parents[2] / "reports/design_choices"


def test_the_ledger_shows_the_sizes_of_both_latents_and_the_shift_that_follows() -> None:
    """CLIP's and the VAE's latents have as many tokens, of which one shift is sqrt(16 x 128 / 256), the other 1."""
    study = study_folder.read(COMMITTED)
    rows, arms = rows_of(ledger(study)), list(study.plan.arms)
    clip, vae = arms.index("clip_fm"), arms.index("vae_fm")
    assert [rows["tokens an image"][arm] for arm in (clip, vae)] == ["16 x 128 numbers", "16 x 16 numbers"]
    assert [rows["timestep shift"][arm] for arm in (clip, vae)] == [
        "2.83, by latent dimension",
        "1, by latent dimension",
    ]
    assert rows["FLOPs of training"][clip] == "2.6e+13, as in the first eight steps", "one figure for three seeds"


def test_a_distance_stands_beside_what_chance_alone_gives() -> None:
    study = study_folder.read(COMMITTED)
    told = {
        s.protocol["expected bias"] for run in study.all_runs for s in run.result.scores if s.name == "frechet_distance"
    }
    assert min(told) == pytest.approx(25.19, abs=0.01) and max(told) == pytest.approx(min(told))
    arms = arms_table(study)
    column = arms.headers.index("Fréchet distance (lower is better)")
    assert all(" (chance 25.2)\n" in row[column] for row in arms.rows)
    assert not any("chance" in cell for row in arms.rows for i, cell in enumerate(row) if i != column)


def test_understanding_above_blind_stands_beside_the_raw_score() -> None:
    """Joint arms answer more questions rightly, but not by looking."""
    study = study_folder.read(COMMITTED)
    arms = arms_table(study)
    assert arms.headers[-2:] == ("understanding accuracy", "understanding above blind")
    joint, frozen = (
        [arm for arm in study.plan.arms if study.plan.arms[arm].component("strategy") == strategy]
        for strategy in ("joint", "sequential")
    )

    def gap(metric: str) -> float:
        means = [np.mean([study.values(arm, metric) for arm in side]) for side in (joint, frozen)]
        return float(means[0] - means[1])

    assert gap("understanding/overall") == pytest.approx(0.081, abs=0.001)
    assert gap("understanding/above_blind") == pytest.approx(-0.037, abs=0.001)


def test_kinds_of_facts_have_a_table_with_floors_and_ceilings() -> None:
    study = study_folder.read(COMMITTED)
    facets = facets_table(study)
    assert facets is not None and facets.headers[1:] == tuple(f"{k}s right" for k in ATOMS)
    row = next(row for row in facets.rows if row[0] == "vae_fm")
    assert row[2] == "0.757 ± 0.015\n[0.304; 0.988]"
