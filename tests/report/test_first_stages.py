"""Arms that go on from the same training: found in plans, in agreement with the weights of committed runs."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from unimm.analysis.contrast import contrast
from unimm.analysis.verdicts import Outcome
from unimm.config import flatten, load
from unimm.report.study import folder as study_folder
from unimm.report.study.answers import answers
from unimm.report.study.evidence import evidence
from unimm.report.study.first_stages import NOT_TRAINED, STAGES_OWN, first_stage, first_stages
from unimm.schema import StageConfig

REPORTS = Path(__file__).parents[2] / "reports"
ABLATIONS = Path(__file__).parents[2] / "ablations"
STUDIES = ("design_choices", "as_published", "caption_mix", "instruction_data")


def arm(name: str = "clip_fm", *overrides: str) -> dict[str, Any]:
    """A resolved arm as a plan stores it."""
    config = load(ABLATIONS / f"{name}.yaml", overrides).model_dump(mode="json")
    return {key: value for key, value in config.items() if key != "seed"}


def alike(a: dict[str, Any], b: dict[str, Any]) -> bool:
    plan = json.loads((REPORTS / "instruction_data" / "plan.json").read_text())
    arms = {name: {"file": "", "hash": "", "config": config} for name, config in {"a": a, "b": b}.items()}
    found = first_stages(study_folder.StudyPlanRecord.model_validate(plan | {"arms": arms}))
    assert found["a"] == "a" and found["b"] in ("a", "b")
    return found["b"] == "a"


@pytest.mark.parametrize("name", STUDIES)
def test_arms_share_a_first_stage_where_its_weights_are_equal_in_every_seed(name: str) -> None:
    """The record, hashes of weights after the first stage, bears out what is read off the plan."""
    study = study_folder.read(REPORTS / name)
    found = first_stages(study.plan)

    def weights(arm: str, seed: int) -> str:
        run = study.runs[arm][seed]
        first = run.result.stages[0].name if run.result.stages else "."
        result = json.loads((run.folder.path / first / "result.json").read_text())
        return str(result["hashes"]["head"])

    for a, b in combinations(study.plan.arms, 2):
        equal = {weights(a, seed) == weights(b, seed) for seed in study.plan.seeds}
        assert equal == {found[a] == found[b]}, (a, b)
    assert len(set(found.values())) == len(found) - (name == "instruction_data")


def test_instruction_data_is_paired_by_seed_without_its_claims_saying_so() -> None:
    """Over these prompts photo-like scenes teach better in every seed; over other texts of their kind it stays open."""
    study = study_folder.read(REPORTS / "instruction_data")
    found = {answer.claim.id: answer for answer in answers(study, evidence(study))}
    facts, whole = found["clean_teaches_faster"], found["clean_teaches_faster_whole_prompts"]
    names = ("instruct_clean", "instruct_photo")
    scores = {name: study.values(name, "atoms/overall") for name in names}
    expected = stats.ttest_rel(*scores.values())
    interval = expected.confidence_interval(0.95)
    by_run = contrast(scores, dict(zip(names, (1, -1), strict=True)), paired=True)
    assert by_run.interval(0.05) == pytest.approx((interval.low, interval.high))
    assert (interval.low, interval.high) == pytest.approx((-0.036, -0.006), abs=5e-4)
    assert facts.verdict.low < interval.low and interval.high < facts.verdict.high, "texts are a sample too"
    for answer in (facts, whole):
        assert answer.verdict.outcome == Outcome.INCONCLUSIVE
        assert "Paired by seed: the arms share their first stage." in answer.sentence
        assert answer.verdict.scope.startswith("3 seeds an arm and 300 prompts of 150 texts, by generation samples")
        assert (answer.verdict.n_items, answer.verdict.n_texts) == (300, 150)


STAGED = (
    "training.samples=48000",
    "stages={pretrain: {samples: 32000}, instruct: {samples: 16000, learning_rate: 0.0003}}",
)


@pytest.mark.parametrize(
    ("a", "b", "share"),
    [
        (
            (),
            ("objective.guidance=5", "objective.steps=50", "evaluation.questions=10", "sampling.decoder_steps=3"),
            True,
        ),
        ((), ("training.samples=16000",), True),  # the longer one makes the shorter one's steps first
        ((), ("training.learning_rate=0.0005",), False),
        ((), ("data.long_caption_share=0.5",), False),
        ((), ("objective.shift=3",), False),
        (STAGED, (*STAGED[:1], "stages={pretrain: {samples: 40000}, other: {samples: 8000}}"), True),
        (
            STAGED,
            (*STAGED[:1], "stages={pretrain: {samples: 32000, learning_rate: 0.01}, b: {samples: 16000}}"),
            False,
        ),
        (STAGED, (), True),  # one arm goes on where the other one ends
        (
            STAGED,
            (*STAGED[:1], "stages={first: {samples: 24000, source: degraded_scenes}, b: {samples: 24000}}"),
            False,
        ),
    ],
)
def test_arms_share_what_training_reads_alike(a: tuple[str, ...], b: tuple[str, ...], share: bool) -> None:
    assert alike(arm("clip_fm", *a), arm("clip_fm", *b)) is share


def test_arms_of_other_components_share_nothing() -> None:
    assert not alike(arm("clip_fm"), arm("vae_fm")) and not alike(arm("clip_fm"), arm("clip_mse"))
    assert not alike(arm("clip_fm"), arm("clip_fm_joint"))


def test_a_setting_that_an_older_plan_lacks_counts_with_its_default() -> None:
    older, newer = arm(), arm()
    del older["training"]["precision"]
    assert alike(older, newer) and alike(newer, older)
    newer["training"]["precision"] = "bf16"
    assert not alike(older, newer)
    older["training"]["unheard_of"] = 1
    assert not alike(older, arm())


def test_every_key_that_is_left_out_is_a_key() -> None:
    """A setting that is renamed would be compared again without a word."""
    known = flatten(arm()) | flatten(arm("objectives/clip_mixture"))
    sections = {key.partition(".")[0] for key in known} | {"seed", "stages"}
    assert all(path in known or path in sections for path in (*NOT_TRAINED, *STAGES_OWN))
    own = set(StageConfig.model_fields) - {"samples"}
    assert set(STAGES_OWN.values()) == own, "what a stage may have of its own"


def test_a_first_stage_is_the_run_that_trains_it() -> None:
    """As the runner makes it: what its configuration reads is what is compared."""
    from unimm.runs.stages import stage_configs

    config = load(ABLATIONS / "clip_fm.yaml", STAGED)
    ran = next(iter(stage_configs(config).values())).model_dump(mode="json")
    assert first_stage(arm("clip_fm", *STAGED)) == first_stage({k: v for k, v in ran.items() if k != "seed"})


def test_what_only_the_second_stage_reads_does_not_count() -> None:
    second = STAGED[1].replace("0.0003", "0.0003, source: degraded_scenes, strategy: joint, warmup_steps: 10")
    assert second != STAGED[1] and alike(arm("clip_fm", *STAGED), arm("clip_fm", STAGED[0], second))
