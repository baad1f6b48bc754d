"""The chain from files to verdicts is closed: a committed study whose files were touched gives no verdict on them.

Every test perturbs a copy of `reports/design_choices`, or of what was read from it, and expects a refusal or
"untestable" with the true reason. The study is read once; a perturbed run is read from a copy of its folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from unimm.analysis.verdicts import Verdict, decide
from unimm.cli import app
from unimm.report.study import folder as study_folder
from unimm.report.study import page
from unimm.report.study.evidence import evidence
from unimm.report.study.tables import factorial_table, guards_table, provenance_table
from unimm.runs.planned import config_hash, plan_hash

REPORTS = Path(__file__).parents[2] / "reports"
STUDY = REPORTS / "design_choices"
FILES = ("result.json", "items.json")
Edit = Callable[[dict[str, Any]], object]
# Claims of clip_fm and vae_fm by prompt, of clip_fm and clip_mse by run, and of all eight arms. All name clip_fm.
PAIR, DISTANCE, EIGHT = "clip_over_vae_alignment", "fm_over_mse_quality", "joint_loses_understanding"


@pytest.fixture(scope="module")
def whole() -> dict[str, Verdict]:
    return verdicts(study_folder.read(STUDY))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The committed study in a folder of its own: links, until a file is edited."""
    for path in [STUDY / "plan.json", *(file for name in FILES for file in STUDY.glob(f"runs/*/seed*/{name}"))]:
        copy = tmp_path / path.relative_to(STUDY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.symlink_to(path)
    return tmp_path


def planned_alone(study: Path, name: str) -> Path:
    """The study as if nothing but one claim had been planned, on its two arms: a quarter of the runs to read."""

    def keep(plan: dict[str, Any]) -> None:
        kept = claim(plan, name)
        plan["claims"]["claims"] = [kept]
        plan["arms"] = {arm: plan["arms"][arm] for arm in kept["contrast"]}

    edit(study / "plan.json", lambda plan: refrozen(plan, keep))
    return study


@pytest.fixture
def pair(study: Path) -> Path:
    """With the claim `PAIR` alone, of clip_fm and vae_fm."""
    return planned_alone(study, PAIR)


def edit(path: Path, change: Edit) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.unlink()
    path.write_text(json.dumps(content))


def edit_runs(study: Path, pattern: str, change: Edit) -> None:
    found = sorted(study.glob(f"runs/{pattern}"))
    assert found, pattern
    for path in found:
        edit(path, change)


def copy_run(study: Path, source: str, target: str) -> None:
    for name in FILES:
        path = study / "runs" / target / name
        path.unlink()
        shutil.copy(study / "runs" / source / name, path)


def verdicts(study: study_folder.Study) -> dict[str, Verdict]:
    return {verdict.claim: verdict for verdict in decide(study.plan.claims, evidence(study))}


def decided(study: Path) -> dict[str, Verdict]:
    return verdicts(study_folder.read(study))


def untestable(found: dict[str, Verdict], name: str, *parts: str) -> None:
    verdict = found[name]
    assert verdict.outcome == "untestable" and all(part in verdict.note for part in parts), verdict.note


def score(content: dict[str, Any], name: str) -> dict[str, Any]:
    return next(score for score in content["scores"] if score["name"] == name)


def claim(content: dict[str, Any], name: str) -> dict[str, Any]:
    return next(claim for claim in content["claims"]["claims"] if claim["id"] == name)


# The plan.


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan["claims"].update(alpha=0.5),
        lambda plan: claim(plan, PAIR).update(direction="lower"),
        lambda plan: claim(plan, "sequential_generates_as_well_at_equal_samples").update(guards=[]),
        lambda plan: claim(plan, PAIR).update(role="secondary"),
        lambda plan: plan["seeds"].pop(),
    ],
    ids=["alpha", "reversed claim", "removed guard", "role", "dropped seed"],
)
def test_an_edited_plan_is_refused(study: Path, change: Edit) -> None:
    edit(study / "plan.json", change)
    with pytest.raises(ValueError, match=r"plan\.json was edited: its hash does not hold; restore it"):
        study_folder.read(study)


@pytest.mark.parametrize("verb", [["report"], ["study", "report"]])
def test_the_command_refuses_an_edited_plan_in_one_line(study: Path, verb: list[str]) -> None:
    edit(study / "plan.json", lambda plan: plan["claims"].update(alpha=0.5))
    result = CliRunner().invoke(app, [*verb, str(study)])
    assert result.exit_code == 2 and "its hash does not hold" in result.output
    assert len(result.output.splitlines()) == 1 and not (study / "report.md").exists()


def test_an_edited_plan_of_a_tuning_is_refused(tmp_path: Path) -> None:
    shutil.copy(REPORTS / "tuning/plan.json", tmp_path)
    edit(tmp_path / "plan.json", lambda plan: plan.update(trials=1))
    result = CliRunner().invoke(app, ["study", "report", str(tmp_path)])
    assert result.exit_code == 2 and "its hash does not hold; restore it" in result.output


def test_the_page_says_that_the_hash_holds_and_which_code_analysed() -> None:
    rows = dict(provenance_table(study_folder.read(STUDY)).rows)
    assert rows["plan's hash"] == "d883ab4c91aea70e; hash holds"
    assert rows["analysed by"].startswith("unimm 0.1.0")


# Runs that are not the planned ones.


def test_one_seed_copied_over_another_counts_for_nothing(study: Path, whole: dict[str, Verdict]) -> None:
    joint = [f"{arm}_joint" for arm in ("clip_fm", "clip_mse", "vae_fm", "vae_mse")]
    for arm in joint:
        copy_run(study, f"{arm}/seed1", f"{arm}/seed2")
    read = study_folder.read(study)
    reason = "result.json is of {} seed 1"
    assert read.refused == {(arm, 2): reason.format(arm) for arm in joint}
    found = verdicts(read)
    untestable(found, EIGHT, f"clip_fm_joint seed 2 ({reason.format('clip_fm_joint')})")
    assert found[PAIR].outcome == whole[PAIR].outcome == "contradicted", "its arms are whole"
    assert whole[EIGHT].outcome == "inconclusive"


def test_a_copy_whose_seed_was_edited_too_is_known_by_its_weights(study: Path) -> None:
    def relabel(content: dict[str, Any], seed: int) -> None:
        content["seed"] = content["config"]["seed"] = seed

    for seed in (1, 2):
        copy_run(study, "clip_fm/seed0", f"clip_fm/seed{seed}")
        edit(study / f"runs/clip_fm/seed{seed}/result.json", lambda content, seed=seed: relabel(content, seed))  # type: ignore[misc]
    read = study_folder.read(study)
    assert set(read.refused) == {("clip_fm", seed) for seed in range(3)}, "either may be the copy"
    untestable(verdicts(read), "clip_over_vae_atoms", "clip_fm seed 0 (has the trained weights of clip_fm seed")


def test_another_arms_run_is_known_by_its_weights_whatever_it_says(study: Path) -> None:
    other = json.loads((study / "runs/clip_fm/seed0/result.json").read_text())
    copy_run(study, "vae_fm/seed0", "clip_fm/seed0")
    edit(study / "runs/clip_fm/seed0/result.json", lambda c: c.update(arm="clip_fm", config=other["config"]))
    untestable(decided(study), PAIR, "clip_fm seed 0 (has the trained weights of vae_fm seed 0)")


def test_another_arms_runs_in_an_arms_folder_decide_nothing(study: Path) -> None:
    for seed in range(3):
        copy_run(study, f"vae_mse/seed{seed}", f"clip_fm/seed{seed}")
    found = decided(study)
    untestable(found, PAIR, "clip_fm seed 0 (result.json is of vae_mse seed 0)")
    assert {verdict.outcome for verdict in found.values()} == {"untestable"}


def test_a_run_of_another_configuration_decides_nothing(pair: Path) -> None:
    edit_runs(pair, "clip_fm/seed1/result.json", lambda c: c["config"]["training"].update(learning_rate=0.01))
    untestable(decided(pair), PAIR, "clip_fm seed 1 (not the planned configuration: training.learning_rate is 0.01")


def test_runs_that_no_plan_names_are_not_looked_at(study: Path, whole: dict[str, Verdict]) -> None:
    for target in ("clip_fm/seed7", "another/seed0"):
        shutil.copytree(study / "runs/vae_mse/seed0", study / "runs" / target)
    assert decided(study) == whole


def test_a_configuration_that_cannot_be_read_decides_nothing(pair: Path) -> None:
    edit_runs(pair, "clip_fm/seed1/result.json", lambda c: c.update(config={"seed": 1}))
    untestable(decided(pair), PAIR, "clip_fm seed 1 (its configuration cannot be compared with the planned one")


def test_the_page_of_a_study_with_refused_runs_is_written_and_says_so(study: Path) -> None:
    edit_runs(study, "*/seed1/result.json", lambda c: c["config"]["training"].update(learning_rate=0.01))
    report = page.build(study)
    assert report.tables["completeness"].rows[0][2].startswith("not the planned configuration")
    assert "factorial" not in report.tables and report.tables["guards"].marked


# Foundations.


def test_another_foundation_in_one_run_or_one_arm_stops_claims_of_it(study: Path) -> None:
    edit_runs(study, "clip_fm/seed1/result.json", lambda c: c["hashes"].update(decoder="0123456789abcdef"))
    found = decided(study)
    untestable(found, PAIR, "same_foundation", "decoder is 5fbecd20", "0123456789abcdef in seed 1 of clip_fm")
    assert {verdict.outcome for verdict in found.values()} == {"untestable"}, "also invariants, which name no guard"
    edit_runs(study, "clip_fm/seed*/result.json", lambda c: c["hashes"].update(decoder="0123456789abcdef"))
    found = decided(study)
    untestable(found, PAIR, "0123456789abcdef in clip_fm", "in vae_fm")
    assert {verdict.outcome for verdict in found.values()} == {"untestable"}


@pytest.mark.parametrize("part", ["vae", "clip", "language", "understanding", "features", "evaluator_0"])
def test_every_part_of_the_foundation_is_compared(pair: Path, part: str) -> None:
    edit_runs(pair, "vae_fm/seed*/result.json", lambda c: c["hashes"].update({part: "0123456789abcdef"}))
    untestable(decided(pair), PAIR, "same_foundation", f"{part} is")


def test_a_foundation_of_its_own_stops_no_claim_of_other_arms(study: Path, whole: dict[str, Verdict]) -> None:
    edit_runs(study, "vae_fm/seed*/result.json", lambda c: c["hashes"].update(vae="0123456789abcdef"))
    found = decided(study)
    untestable(found, PAIR, "same_foundation", "vae is")
    untouched = found[DISTANCE], whole[DISTANCE]  # vae_fm is none of its arms; its level is that of the family
    assert len({(verdict.outcome, verdict.estimate) for verdict in untouched}) == 1


def test_a_part_that_one_arm_lacks_is_another_foundation(study: Path) -> None:
    edit_runs(study, "clip_fm/seed*/result.json", lambda c: c["hashes"].pop("vae"))
    untestable(decided(study), PAIR, "vae is", "absent in clip_fm")


def test_another_world_in_one_run_is_named(pair: Path) -> None:
    edit_runs(pair, "clip_fm/seed2/result.json", lambda c: c.update(world="scenes-other"))
    untestable(decided(pair), PAIR, "world is scenes-nano in seed 0 of clip_fm and scenes-other in seed 2 of clip_fm")


def refrozen(plan: dict[str, Any], change: Edit) -> None:
    """Change a plan as if it had been planned so."""
    change(plan)
    plan["hash"] = plan_hash(plan)


def test_runs_are_compared_with_the_foundation_of_a_plan_that_names_it(study: Path) -> None:
    hashes = json.loads((study / "runs/clip_fm/seed0/result.json").read_text())["hashes"]
    parts = {part: value for part, value in hashes.items() if part not in ("head", "backbone")}
    edit(study / "plan.json", lambda plan: refrozen(plan, lambda p: p.update(foundations={"scenes-nano": parts})))
    assert not study_folder.read(study).refused
    edit_runs(study, "*/seed*/result.json", lambda c: c["hashes"].update(vae="0123456789abcdef"))
    read = study_folder.read(study)
    assert len(read.refused) == 24, "all arms alike, so that only the plan can tell"
    untestable(verdicts(read), PAIR, "made on another foundation than the planned one: vae")


def test_an_arm_that_declares_another_foundation_may_differ(study: Path) -> None:
    def declare(plan: dict[str, Any]) -> None:
        arm = plan["arms"]["clip_fm"]
        arm["config"]["foundation"] = "other"
        arm["hash"] = config_hash(arm["config"])

    def other(content: dict[str, Any]) -> None:
        content["config"]["foundation"] = "other"
        content["hashes"].update(clip="0123456789abcdef", decoder="0123456789abcdef")

    edit(study / "plan.json", lambda plan: refrozen(plan, declare))
    edit_runs(study, "clip_fm/seed*/result.json", other)
    assert decided(study)[PAIR].outcome == "contradicted"


def test_an_encoder_from_elsewhere_is_compared_among_its_own_arms(study: Path) -> None:
    encoder = {"name": "plugin:Encoder", "width": 8}

    def planned(plan: dict[str, Any]) -> None:
        for arm in (plan["arms"]["clip_fm"], plan["arms"]["clip_mse"]):
            arm["config"]["encoder"] = encoder
            arm["hash"] = config_hash(arm["config"])

    def ran(content: dict[str, Any]) -> None:
        content["config"] = {**arms[content["arm"]]["config"], "seed": content["seed"]}
        content["hashes"]["plugin:Encoder"] = "0123456789abcdef"

    edit(study / "plan.json", lambda plan: refrozen(plan, planned))
    arms = json.loads((study / "plan.json").read_text())["arms"]
    for arm in ("clip_fm", "clip_mse"):
        edit_runs(study, f"{arm}/seed*/result.json", ran)
    found = decided(study)
    assert (found[PAIR].outcome, found[DISTANCE].outcome) == ("contradicted", "supported"), found[PAIR].note
    edit_runs(study, "clip_mse/seed*/result.json", lambda c: c["hashes"].update({"plugin:Encoder": "fedcba"}))
    found = decided(study)
    assert found[PAIR].outcome == "contradicted", "vae_fm has another encoder on purpose"
    untestable(found, DISTANCE, "plugin:Encoder is 0123456789abcdef in clip_fm and fedcba in clip_mse")


# Items and scores.


def colours(content: dict[str, Any]) -> list[float | None]:
    return content["scores"]["geneval/colors"]  # type: ignore[no-any-return]


def first(values: list[float | None]) -> int:
    return next(i for i, value in enumerate(values) if value is not None)


def put(value: float | None, count: int = 1) -> Edit:
    """Put a value in place of the first so many items of a task."""

    def change(content: dict[str, Any]) -> None:
        values = colours(content)
        for i in [i for i, old in enumerate(values) if old is not None][:count]:
            values[i] = value

    return change


def all_right(content: dict[str, Any]) -> None:
    for values in content["scores"].values():
        values[:] = [None if value is None else 1.0 for value in values]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put(float("nan")), "items.json has nan under geneval/colors, which is no number"),
        (put(float("inf")), "items.json has inf under geneval/colors, which is no number"),
        (put(None, 100), "items.json has no value of geneval/colors for 100 of its 100 images"),
        (put(None), "items.json has no value of geneval/colors for 1 of its 100 images"),
        (all_right, "items.json and result.json disagree on geneval/single_object: 1 and"),
        (put(0.5), "items.json and result.json disagree on geneval/colors"),
        (lambda c: c["scores"].pop("geneval/colors"), "items.json has 0 entries under geneval/colors"),
        (lambda c: c["prompts"].pop(0), "items.json has"),
    ],
    ids=["NaN", "infinity", "null task", "one null", "all right", "half", "no task", "a prompt less"],
)
def test_damaged_items_are_untestable_with_the_reason(pair: Path, change: Edit, reason: str) -> None:
    edit_runs(pair, "clip_fm/seed1/items.json", change)
    untestable(decided(pair), PAIR, f"clip_fm seed 1 ({reason}")


def test_damaged_items_leave_no_factorial_table_and_a_mark(study: Path) -> None:
    edit_runs(study, "clip_fm/seed1/items.json", put(float("nan")))
    read = study_folder.read(study)
    results = evidence(read)
    assert factorial_table(read, results) is None and guards_table(read, results).marked


def test_the_pair_by_itself_is_decided(pair: Path) -> None:
    (found,) = decided(pair).values()
    assert (found.claim, found.outcome) == (PAIR, "contradicted")


def test_a_result_that_was_edited_disagrees_with_its_items(pair: Path) -> None:
    edit_runs(pair, "vae_fm/seed0/result.json", lambda c: score(c, "geneval/overall").update(value=0.9))
    untestable(decided(pair), PAIR, "vae_fm seed 0 (items.json and result.json disagree on geneval/overall")


@pytest.mark.parametrize("value", [float("inf"), float("nan"), None])
def test_a_score_that_is_no_number_was_not_measured(study: Path, value: float | None) -> None:
    edit_runs(study, "clip_fm/seed1/result.json", lambda c: score(c, "frechet_distance").update(value=value))
    untestable(
        decided(planned_alone(study, DISTANCE)), DISTANCE, "frechet_distance could not be measured in clip_fm, seed 1"
    )


def test_a_protocol_entry_that_one_run_lacks_is_another_protocol(pair: Path) -> None:
    edit_runs(pair, "clip_fm/seed1/result.json", lambda c: score(c, "geneval/overall")["protocol"].pop("judge"))
    untestable(decided(pair), PAIR, 'measured geneval/overall differently: judge is "scenes" or not recorded')


def test_a_run_without_items_is_taken_by_run_and_the_scope_says_why(study: Path, whole: dict[str, Verdict]) -> None:
    (study / "runs/vae_mse/seed1/items.json").unlink()
    found = decided(study)[PAIR]
    assert whole[PAIR].n_items == 300 and "By run" not in whole[PAIR].scope
    assert found.n_items is None and found.outcome != "untestable"
    assert found.scope.endswith("By run, not by prompt: no scores by item in items.json of vae_mse seed 1.")


# What the files say twice.


def floor(value: float) -> Edit:
    return lambda c: c["floors"]["shuffled_prompts"].update({"geneval/overall": value})


def each_point(change: Callable[[dict[str, Any]], object]) -> Edit:
    return lambda c: [change(point) for point in c["curve"]]


def put_before(name: str, value: float) -> Edit:
    return lambda c: c["scores"].insert(0, {**score(c, name), "value": value})


def put_value(name: str, value: float) -> Edit:
    return lambda c: score(c, name).update(value=value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put_before("frechet_distance", 1.0), "it has frechet_distance 2 times"),
        (put_before("geneval/overall", 0.9), "it has geneval/overall 2 times"),
        (put_value("atoms/overall", 0.9), "in the scores, atoms/overall is 0.9 and no mean of atoms/object"),
        (put_value("understanding/overall", 0.9), "understanding/overall is 0.9 and no mean of"),
        (floor(0.0), "in the floor shuffled_prompts, geneval/overall is 0 and no mean of"),
        (lambda c: c["floors"].update(mine={"geneval/overall": 0.0}), "in the floor mine, geneval/overall is 0 and"),
        (lambda c: c["floors"].update(mine={"atoms/shape": -1.0}), "atoms/shape has -1 among its floors (mine)"),
        (lambda c: c["ceilings"]["real"].update({"geneval/overall": 0.5}), "in the ceiling real, geneval/overall"),
        (each_point(lambda p: p["scores"].update({"atoms/overall": 0.6})), "in the curve at 5,664 samples"),
        (each_point(lambda p: p.update(samples=p["samples"] // 4)), "its curve has 1,416 samples at step 177 of 32"),
        (lambda c: c["curve"].pop(), "its curve ends at "),
        (each_point(lambda p: p["scores"].update(dict.fromkeys(p["scores"], 0.6))), "other samples than `reached`"),
        (lambda c: c["curve"].reverse(), "its curve ends at 5,664 samples, and training at 64,000"),
        (lambda c: c["counts"].update(generation_samples=32, steps=1), "32 samples in 1 steps, and its configuration"),
        (lambda c: c["efficiency"].update(train_flops_per_sample=1e7), "FLOPs of a sample times samples are 6.4e+11"),
        (
            lambda c: c["efficiency"].update(train_flops_per_sample=1e7, train_flops=6.4e11),
            "`reached` has other FLOPs for atoms/overall of 0.5",
        ),
        (lambda c: c["floors"]["blind"].update({"understanding/count": 0.9}), "understanding/overall is "),
    ],
)
def test_a_result_that_contradicts_itself_counts_for_nothing(pair: Path, change: Edit, reason: str) -> None:
    edit_runs(pair, "clip_fm/seed1/result.json", change)
    read = study_folder.read(pair)
    assert set(read.refused) == {("clip_fm", 1)} and reason in read.refused["clip_fm", 1], read.refused
    untestable(verdicts(read), PAIR, "clip_fm seed 1 (result.json contradicts itself: ")


def from_prompt_to_prompt(content: dict[str, Any]) -> None:
    """As many right as before, on other prompts."""
    images = [i for i, row in enumerate(content["prompts"]) if row["tag"] == "colors"]
    values = colours(content)
    for image, value in zip(images, sorted(values[i] or 0.0 for i in images), strict=True):
        values[image] = value


def beyond(name: str) -> Edit:
    """Two values outside 0 and 1 whose mean is that of the old ones."""

    def change(content: dict[str, Any]) -> None:
        values = content["scores"][name]
        one, other = [i for i, value in enumerate(values) if value is not None][:2]
        values[one] += 9
        values[other] -= 9

    return change


def every_text_its_own(content: dict[str, Any]) -> None:
    for number, row in enumerate(content["prompts"]):
        row["prompt"] += f" {number // 2}"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (from_prompt_to_prompt, "disagree on the standard error of geneval/colors"),
        (every_text_its_own, "disagree on the standard error of geneval/single_object"),
        (beyond("geneval/colors"), "under geneval/colors, which is no fraction"),
        (beyond("atoms/count"), "under atoms/count, which is no fraction"),
        (beyond("understanding/count"), "under understanding/count, which is no fraction"),
        (lambda c: c["prompts"][0].update(prompt="a cat"), "has other prompts within the 2 images of one"),
        (lambda c: c["scores"].update({"clip_score/a": [50.0] * 650}), "disagree on clip_score/a: 50 and"),
    ],
)
def test_items_that_were_touched_count_for_nothing(pair: Path, change: Edit, reason: str) -> None:
    edit_runs(pair, "*_fm/seed*/items.json", change)
    read = study_folder.read(pair)
    assert len(read.refused) == 6, "all alike, so that each has to contradict its own result"
    untestable(verdicts(read), PAIR, "clip_fm seed 0 (items.json", reason)


def test_a_mean_of_other_parts_is_known_by_its_error(study: Path) -> None:
    def of_counts(content: dict[str, Any]) -> None:
        score(content, "atoms/overall")["protocol"]["mean of"] = ["atoms/count"]

    edit_runs(study, "*/seed*/result.json", of_counts)
    untestable(decided(study), "clip_over_vae_atoms", "disagree on the standard error of atoms/overall")


def test_a_copy_with_another_hash_is_known_by_its_scores(study: Path) -> None:
    own = json.loads((study / "runs/clip_fm/seed0/result.json").read_text())
    copy_run(study, "vae_fm/seed0", "clip_fm/seed0")
    change = {key: own[key] for key in ("arm", "config", "hashes")}
    edit(study / "runs/clip_fm/seed0/result.json", lambda c: c.update(change))
    untestable(decided(study), PAIR, "clip_fm seed 0 (has all scores of vae_fm seed 0)")


def test_one_run_of_other_prompts_or_tokens_counts_for_nothing(study: Path) -> None:
    edit_runs(study, "clip_fm/seed0/items.json", lambda c: c["prompts"][-1].update(prompt="a cat"))  # no task's
    edit_runs(study, "vae_fm/seed2/result.json", lambda c: c["resolution_scaling"][0].update(tokens=1))
    refused = study_folder.read(study).refused
    assert set(refused) == {("clip_fm", 0), ("vae_fm", 2)}
    assert "has other prompts than most runs" in refused["clip_fm", 0] or "standard error" in refused["clip_fm", 0]
    assert refused["vae_fm", 2] == "result.json has another `resolution_scaling` than other seeds"


def test_a_stage_that_scores_otherwise_than_its_run_is_known(tmp_path: Path) -> None:
    shutil.copytree(REPORTS / "instruction_data", tmp_path / "s", ignore=shutil.ignore_patterns("*.png", "*.svg"))
    edit(
        tmp_path / "s/runs/instruct_photo/seed1/result.json",
        lambda c: score(c["stages"][-1], "atoms/overall").update(value=0.9),
    )
    assert "in its last stage" in study_folder.read(tmp_path / "s").refused["instruct_photo", 1]


# Nothing is touched.


def test_committed_studies_are_sound() -> None:
    """Also one whose arms share their first stage: only the weights that a run ends with are its own."""
    for path in REPORTS.glob("*/plan.json"):
        if path.parent.name != "tuning":
            read = study_folder.read(path.parent)
            assert not read.missing and not read.refused
            results = evidence(read)
            found = [results.guards[name](c) for name in results.every_claim for c in read.plan.claims.claims]
            assert found and not any(found)


def test_the_command_writes_the_page_of_a_study_with_nan(study: Path) -> None:
    edit_runs(study, "clip_fm/seed1/items.json", put(float("nan")))
    infinity = float("inf")
    edit_runs(study, "vae_fm/seed1/result.json", lambda c: score(c, "frechet_distance").update(value=infinity))
    edit_runs(study, "vae_mse/seed1/result.json", lambda c: c["curve"][2]["scores"].update({"atoms/overall": infinity}))
    result = CliRunner().invoke(app, ["study", "report", str(study)])
    assert result.exit_code == 0, result.output
    text = (study / "report.md").read_text()
    assert "**Runs that do not count:** clip_fm seed 1: items.json has nan under geneval/colors" in text
