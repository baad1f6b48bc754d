"""Scores by prompt or question: they average to the reported ones, and are by run where items differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from unimm.analysis.claims import Difference
from unimm.analysis.contrast import compare
from unimm.report.study import folder as study_folder
from unimm.report.study.by_item import by_item
from unimm.report.study.evidence import evidence

STUDY = Path(__file__).parents[2] / "reports/as_published"
BY_PROMPT = (
    *(f"geneval/{task}" for task in ("overall", "colors", "position")),
    *(f"atoms/{kind}" for kind in ("object", "shape", "colour", "count", "relation", "overall")),
    *("clip_score/a", "r_precision/a", "copies/nearer_training", "geneval/seen"),
)
BY_QUESTION = {
    "understanding/overall": "questions",
    "understanding/count": "questions",
    "descriptions/objects": "descriptions",
}
BY_RUN = ("frechet_distance", "diversity/latents/vendi", "understanding/above_blind")


@pytest.fixture(scope="module")
def study() -> study_folder.Study:
    return study_folder.read(STUDY)


def of_strata(row: np.ndarray, strata: list[str]) -> float:
    return float(np.mean([row[np.array(strata) == stratum].mean() for stratum in dict.fromkeys(strata)]))


@pytest.mark.parametrize("metric", [*BY_PROMPT, *BY_QUESTION])
def test_units_average_to_the_reported_score(study: study_folder.Study, metric: str) -> None:
    """The mean of the strata's means, which is what intervals take; items have four decimals."""
    found = by_item(study, metric)
    assert found is not None and found.units == BY_QUESTION.get(metric, "prompts")
    for arm, rows in found.scores.items():
        means = [of_strata(row, found.strata) for row in rows]
        np.testing.assert_allclose(means, study.values(arm, metric), rtol=2e-5, atol=6e-5)


@pytest.mark.parametrize("metric", BY_RUN)
def test_what_has_no_common_items_is_by_run(study: study_folder.Study, metric: str) -> None:
    assert metric in study.metrics and by_item(study, metric) is None


def test_a_facet_by_hand(study: study_folder.Study) -> None:
    """`atoms/colour` applies to the prompts of two tasks; each prompt's value is the mean over its two images."""
    found = by_item(study, "atoms/colour")
    assert found is not None and set(found.strata) == {"colors", "color_attr"} and len(found.strata) == 100
    run = study.finished("clip_fm")[0]
    assert run.items is not None
    own = [value for value in run.items.scores["atoms/colour"] if value is not None]
    np.testing.assert_allclose(found.scores["clip_fm"][0], np.reshape(own, (100, 2)).mean(axis=1))


def test_a_prompt_of_several_parts_counts_as_each_of_them(study: study_folder.Study) -> None:
    """`atoms/overall`: a prompt that asks for a relation is in four of the five parts."""
    found = by_item(study, "atoms/overall")
    assert found is not None and len(found.strata) == 300
    run = study.finished("vae_fm")[1]
    assert run.items is not None
    first = next(i for i, row in enumerate(run.items.prompts) if row.tag == "position")
    expected = 0.0
    for kind in ("object", "shape", "colour", "count", "relation"):
        values = run.items.scores[f"atoms/{kind}"]
        number = sum(value is not None for value in values)
        expected += sum(value or 0 for value in values[first : first + 2]) / (5 * number)
    place = found.strata.index("position")
    assert found.scores["vae_fm"][1][place] == pytest.approx(6 * 50 * expected)


def test_a_run_that_measured_other_items_makes_a_score_by_run(tmp_path: Path) -> None:
    shutil.copytree(STUDY, tmp_path / "study", ignore=shutil.ignore_patterns("samples", "figures"))
    path = tmp_path / "study/runs/clip_fm/seed1/items.json"
    content, result = json.loads(path.read_text()), json.loads(path.with_name("result.json").read_text())
    values = content["scores"]["atoms/shape"]
    values[3] = None
    path.write_text(json.dumps(content))
    known = [value for value in values if value is not None]
    score = next(score for score in result["scores"] if score["name"] == "atoms/shape")
    score |= {"n": len(known), "value": sum(known) / len(known), "stderr": None}
    scores = {score["name"]: score for score in result["scores"]}
    parts = [scores[part]["value"] for part in scores["atoms/overall"]["protocol"]["mean of"]]
    scores["atoms/overall"] |= {"value": sum(parts) / len(parts), "stderr": None}
    path.with_name("result.json").write_text(json.dumps(result))
    study = study_folder.read(tmp_path / "study")
    assert by_item(study, "atoms/shape") is None and by_item(study, "atoms/count") is not None
    assert by_item(study, "atoms/overall") is None, "one of its parts is by run"


def test_a_facet_can_be_claimed_with_all_guards(study: study_folder.Study) -> None:
    results = evidence(study)
    claim = Difference.model_validate(
        {
            "id": "shapes",
            "kind": "difference",
            "text": "VAE latents draw shapes better.",
            "role": "primary",
            "metric": "atoms/shape",
            "direction": "higher",
            "budget": "generation_samples",
            "smallest_effect": 0.02,
            "contrast": {"vae_fm": 1, "clip_fm": -1},
            "guards": ["complete", "budgets_match", "judge_passes", "evaluator_independent", "within_range"],
        }
    )
    results.check_guards(claim)
    arms = results.scores["generation_samples"]["atoms/shape"]
    found = compare(arms["vae_fm"], arms["clip_fm"], tasks=results.tasks["atoms/shape"])
    assert found.n_items == 300
    means = [study.values(arm, "atoms/shape").mean() for arm in ("vae_fm", "clip_fm")]
    assert found.estimate == pytest.approx(means[0] - means[1], abs=1e-4)
    relations = claim.model_copy(update={"metric": "atoms/relation", "contrast": {"clip_mse": 1, "clip_fm": -1}})
    assert results.guards["within_range"](relations) == "every arm lies within 3% of its floor of atoms/relation"


@pytest.mark.parametrize("metric", ["geneval/overall", "atoms/count"])
def test_logarithms_are_of_a_runs_score_and_not_of_its_prompts(study: study_folder.Study, metric: str) -> None:
    """A prompt that no image fulfils has no logarithm, and its run's score has one."""
    claim = Difference.model_validate(
        {"id": "c", "text": "c", "kind": "difference", "role": "primary", "metric": metric, "direction": "higher"}
        | {"budget": "generation_samples", "contrast": {"clip_fm": 1, "vae_fm": -1}}
        | {"scale": "log", "smallest_ratio": 1.1}
    )
    results = evidence(study)
    for arm in claim.contrast:
        np.testing.assert_allclose(results.on_scale(claim, arm), np.log(study.values(arm, metric)), rtol=1e-4)


def test_the_noise_of_images_is_their_spread_within_prompts(study: study_folder.Study) -> None:
    """Of GenEval's overall score: sum over prompts of var / images, over (tasks x prompts of the task) squared."""
    found = by_item(study, "geneval/overall")
    assert found is not None
    variances = []
    for run in study.finished("clip_fm"):
        assert run.items is not None
        parts = []
        for task in dict.fromkeys(found.strata):
            values = [value for value in run.items.scores[f"geneval/{task}"] if value is not None]
            pairs = np.array(values).reshape(-1, 2)
            parts.append((pairs.var(axis=1, ddof=1) / 2).sum() / (6 * len(pairs)) ** 2)
        variances.append(sum(parts))
    assert found.noise["clip_fm"] == pytest.approx(np.mean(variances))
    questions = by_item(study, "understanding/overall")
    assert questions is not None and questions.noise == {}, "one answer a question says nothing"
