"""Verdicts on runs made elsewhere: a table that unimm exported gives the same ones, and a bad one says what is bad."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

from synthetic_study import write_study

from unimm.analysis.contrast import compare
from unimm.cli import app
from unimm.report import pages
from unimm.report.imported import page as imported_page
from unimm.report.imported.export import export_study
from unimm.report.imported.page import import_table, remarks
from unimm.report.imported.table import checked, read_table, write_table
from unimm.report.study import page as study_page

REPORTS = Path(__file__).parents[2] / "reports"
SEEDS, PROMPTS = (0, 1, 2), 8
runner = CliRunner()
Rows = list[dict[str, Any]]
Write = Callable[..., Path]


def verdict_tables(folder: Path) -> tuple[bytes, str]:
    """The table of claims as a file, and that of the first screen."""
    first = re.search(r"^\| verdict .*?\n\n", (folder / "report.md").read_text(), re.MULTILINE | re.DOTALL)
    assert first is not None
    return (folder / "tables" / "claims.tex").read_bytes(), first[0]


def check_round_trip(study: Path, tmp_path: Path) -> str:
    scores, claims = export_study(study, tmp_path / "exported")
    page, _, _ = import_table(scores, claims, tmp_path / "imported")
    assert page == tmp_path / "imported" / "report.html"
    assert verdict_tables(page.parent) == verdict_tables(study)
    return page.read_text()


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a synthetic study with its page, but for the figures."""
    monkeypatch.setattr(study_page, "draw", lambda *_: {})

    def written(folder: Path, missing: Collection[tuple[str, int]] = ()) -> Path:
        pages.write(write_study(folder, missing=missing))
        return folder

    return written


def test_the_round_trip_decides_alike(write: Write, tmp_path: Path) -> None:
    study = write(tmp_path / "study")
    text = check_round_trip(study, tmp_path)
    assert "Made elsewhere:" in text and "judge_passes (a table does not hold" in text
    again = read_table(tmp_path / "imported" / "scores.csv")
    write_table(tmp_path / "again.csv", [{**row._asdict(), **row.texts, **row.numbers} for row in again])
    assert [row._replace(place="") for row in read_table(tmp_path / "again.csv")] == [
        row._replace(place="") for row in again
    ]


def test_missing_runs_stay_missing(write: Write, tmp_path: Path) -> None:
    check_round_trip(write(tmp_path / "study", [("vae_fm", 1)]), tmp_path)


@pytest.mark.slow
def test_the_committed_study_has_the_same_verdicts_byte_for_byte(tmp_path: Path) -> None:
    study = REPORTS / "design_choices"
    scores, claims = export_study(study, tmp_path / "exported")
    page, _, _ = import_table(scores, claims, tmp_path / "imported")
    assert verdict_tables(page.parent) == verdict_tables(study)


def measured(rng: np.random.Generator | None = None) -> Rows:
    """Two arms, one score by prompt and one by run; arm a is ahead by 0.2, and what a seed adds is the same in both."""
    rng = rng or np.random.default_rng(0)
    shared = 0.05 * rng.standard_normal(len(SEEDS))
    return [
        {"arm": arm, "seed": seed, "metric": "acc", "prompt": p, "value": round(level + shared[seed] + 0.01 * noise, 6)}
        for arm, level in (("a", 0.6), ("b", 0.4))
        for seed in SEEDS
        for p, noise in enumerate(rng.standard_normal(PROMPTS))
    ]


CLAIM = {
    "id": "a_over_b",
    "text": "a is better than b.",
    "kind": "difference",
    "role": "primary",
    "metric": "acc",
    "direction": "higher",
    "budget": "generation_samples",
    "contrast": {"a": 1, "b": -1},
    "smallest_effect": 0.02,
    "guards": ["complete", "budgets_match", "within_range"],
}


class Files:
    """A table and its claims in a folder."""

    def __init__(self, folder: Path) -> None:
        self.scores, self.claims, self.out = folder / "scores.csv", folder / "claims.yaml", folder / "out"

    def write(self, rows: Rows, **claim: Any) -> Files:
        write_table(self.scores, rows)
        self.claims.write_text(yaml.safe_dump({"alpha": 0.05, "claims": [CLAIM | claim]}))
        return self

    def run(self, *options: str) -> Any:
        given = ["study", "import", str(self.scores), "--claims", str(self.claims), "--out", str(self.out), *options]
        return runner.invoke(app, given)


@pytest.fixture(autouse=True)
def _no_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take most of a page's time; the round trip draws them."""
    if "round_trip" not in request.node.name:
        for name in ("effects_figure", "scores_figure"):
            monkeypatch.setattr(imported_page, name, lambda *_: None)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_four_columns_are_enough_and_what_no_guard_can_see_is_not_known(files: Files) -> None:
    done = files.write(measured()).run()
    assert done.exit_code == 0, done.output
    assert "✓ supported: a is better than b.\n  Yes: acc higher with a by +0.1" in done.stdout
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80, "all but the place of the page"
    page = (files.out / "report.md").read_text()
    for lacks in ("the floor of acc (column floor)", "what training consumed (column samples)", "(column protocol)"):
        assert lacks in page, lacks
    assert "3 seeds an arm and 8 prompts, by generation samples, in runs made elsewhere" in page


def test_the_card_of_a_clip_is_not_known_of_a_table(files: Files) -> None:
    done = files.write([{**row, "metric": "clip_score/a"} for row in measured()], metric="clip_score/a").run()
    assert "✓ supported: a is better than b." in done.stdout
    assert "judge_card (a table does not hold the card of evaluator a)" in (files.out / "report.md").read_text()


def test_the_interval_is_the_two_way_one(files: Files) -> None:
    rows = measured()
    _, _, (answer,) = import_table(files.write(rows).scores, files.claims, files.out)
    cells = {arm: np.array([row["value"] for row in rows if row["arm"] == arm]).reshape(3, -1) for arm in "ab"}
    wanted = compare(cells["a"], cells["b"])
    assert (answer.verdict.low, answer.verdict.high) == pytest.approx((wanted.low, wanted.high))


def test_pairing_is_chosen_before_the_table_is_read_and_kept(files: Files) -> None:
    """Paired by seed, what a seed adds to both arms cancels. A table that cannot be read leaves the choice behind."""
    files.write(measured())
    whole = files.scores.read_text()
    files.scores.write_text("no table")
    assert files.run("--pair-by", "seed").exit_code == 2
    assert json.loads((files.out / "plan.json").read_text())["pair_by"] == "seed"
    files.scores.write_text(whole)
    assert files.run("--pair-by", "seed").exit_code == 0
    refused = files.run()
    assert refused.exit_code == 2 and "with other pair_by, before its scores were read" in refused.stderr
    _, _, (paired,) = import_table(files.scores, files.claims, files.out, "seed")
    _, _, (welch,) = import_table(files.scores, files.claims, files.out.with_name("other"))
    assert "paired by seed, as planned" in paired.verdict.note and not welch.verdict.note
    widths = [each.verdict.high - each.verdict.low for each in (paired, welch)]
    assert widths[0] < 0.5 * widths[1]
    assert "pairing by seed for all of them" in (files.out / "report.html").read_text()


def test_an_edited_plan_is_refused_and_other_claims_are_another_study(files: Files) -> None:
    files.write(measured()).run()
    assert "other claims" in files.write(measured(), smallest_effect=0.001).run().stderr
    plan = json.loads((files.out / "plan.json").read_text())
    (files.out / "plan.json").write_text(json.dumps(plan | {"pair_by": "seed"}))
    refused = runner.invoke(app, ["report", str(files.out)])
    assert refused.exit_code == 2 and "plan.json was edited" in refused.stderr


def test_the_page_can_be_made_again(files: Files) -> None:
    files.write(measured()).run()
    page = (files.out / "report.md").read_text()
    (files.out / "report.md").unlink()
    assert runner.invoke(app, ["study", "report", str(files.out)]).exit_code == 0
    assert (files.out / "report.md").read_text() == page
    status = runner.invoke(app, ["study", "status", str(files.out)])
    assert status.exit_code == 2 and "holds a table, not a study" in status.stderr


def without(rows: Rows, **equal: Any) -> Rows:
    return [row for row in rows if any(row[key] != value for key, value in equal.items())]


def changed(rows: Rows, value: object, **equal: Any) -> Rows:
    return [{**row, "value": value} if all(row[k] == v for k, v in equal.items()) else row for row in rows]


def test_a_doubled_row_is_named_with_both_places(files: Files) -> None:
    rows = measured()
    refused = files.write([*rows, rows[5]]).run()
    assert refused.exit_code == 2
    (line,) = refused.stderr.splitlines()
    assert "scores.csv, line 50 repeats" in line and "line 7 (a, seed 0: acc of the prompt 5)" in line


@pytest.mark.parametrize(
    ("spoil", "line", "reason"),
    [
        (lambda rows: without(rows, arm="b", seed=2), "missing: b seed 2", "runs not finished: b seed 2"),
        (
            lambda rows: changed(rows, "nan", arm="b", seed=1, prompt=3),
            "not measured: acc of b, seed 1",
            "acc could not be measured in b, seed 1",
        ),
        (
            lambda rows: without(rows, arm="b", seed=1, prompt=3),
            "prompts of acc differ: b seed 1 has 7, most runs 8; it lacks '3'",
            "prompts of acc differ: b, seed 1 has 7, most runs 8; it lacks '3'",
        ),
    ],
)
def test_a_gap_is_one_line_and_makes_claims_untestable(files: Files, spoil: Any, line: str, reason: str) -> None:
    done = files.write(spoil(measured())).run()
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines() == [line]
    assert "- untestable" in done.stdout and reason in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"value": "high"}, "value is 'high', which is no number"),
        ({"value": "inf"}, "value is 'inf', which is no number"),
        ({"seed": "x"}, "seed is 'x', which is no whole number"),
        ({"arm": ""}, "has no arm"),
        ({"split": "train"}, "split is 'train'; choices: test, validation"),
        ({"prompt": None, "value": 0.9}, "acc is 0.9, and its rows by prompt have"),
    ],
)
def test_a_bad_row_is_one_line_with_its_place(files: Files, row: dict[str, Any], message: str) -> None:
    rows = measured()
    refused = files.write([*rows, {**rows[0], "prompt": "new", **row}]).run()
    (line,) = refused.stderr.splitlines()
    assert refused.exit_code == 2 and "scores.csv, line 50" in line and message in line


def test_columns_that_nothing_reads_and_names_that_are_not_there_are_refused(files: Files) -> None:
    files.write(measured())
    files.scores.write_text(files.scores.read_text().replace("prompt", "promt", 1))
    assert "nothing reads the column 'promt'; did you mean 'prompt'?" in files.run().stderr
    files.write(measured(), contrast={"a": 1, "c": -1})
    refused = Files(files.scores.parent)
    refused.out = files.out.with_name("other")
    assert "claim 'a_over_b': contrast: no 'c' in arms" in refused.run().stderr


def test_floors_samples_and_protocols_are_what_guards_look_at(files: Files) -> None:
    rows: Rows = [{**row, "floor": 0.1, "ceiling": 1, "samples": 100, "protocol": "greedy"} for row in measured()]
    known = files.write(rows).run()
    page = (files.out / "report.md").read_text()
    assert known.exit_code == 0 and "column floor" not in page and "column samples" not in page
    for column, value, reason in (
        ("samples", 50, "arms spent 50 samples; 100 samples"),
        ("protocol", "sampled", "runs measured acc differently: protocol is"),
    ):
        files.out = files.out.with_name(column)
        other = [{**row, column: value} if row["arm"] == "b" else row for row in rows]
        assert reason in " ".join(files.write(other).run().stdout.split())


def test_learning_curves_and_facts_are_read(files: Files) -> None:
    rows: Rows = [
        {"arm": arm, "seed": seed, "metric": "acc", "samples": n, "flops": 2.0 * n, "value": gain * n + 0.01 * seed}
        for arm, gain in (("a", 0.002), ("b", 0.001))
        for seed in SEEDS
        for n in (100, 200, 400, 800)
    ]
    rows += [{"arm": arm, "seed": seed, "metric": "fact:frozen", "value": 1} for arm in "ab" for seed in SEEDS]
    reach = {"id": "sooner", "kind": "reach", "target": 0.3, "faster": "a", "slower": "b", "smallest_ratio": 1.2}
    reach |= {key: CLAIM[key] for key in ("text", "role", "metric", "direction", "guards")} | {"budget": "flops"}
    fact = {"id": "frozen", "kind": "invariant", "text": "b stays.", "holds": {"frozen": ["b"]}}
    write_table(files.scores, rows)
    files.claims.write_text(yaml.safe_dump({"alpha": 0.05, "claims": [reach, fact]}))
    _, _, (sooner, frozen) = import_table(files.scores, files.claims, files.out)
    assert sooner.verdict.outcome == "supported" and sooner.verdict.estimate == pytest.approx(2, rel=0.1)
    assert frozen.verdict.outcome == "supported"


def test_columns_may_stand_in_any_order(files: Files) -> None:
    rows = files.write(measured()).scores.read_text().splitlines()
    files.scores.write_text("\n".join(",".join(reversed(row.split(","))) for row in rows))
    turned = [row._replace(place="") for row in read_table(files.scores)]
    assert turned == [row._replace(place="") for row in read_table(files.write(measured()).scores)]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_with_other_separators_is_refused_by_name(files: Files, mark: str) -> None:
    files.scores.write_text(files.write(measured()).scores.read_text().replace(",", mark))
    refused = files.run()
    assert refused.exit_code == 2
    assert f"scores.csv separates its columns by {mark!r}: save it with commas" in refused.stderr


def parquet(files: Files, content: bytes) -> Any:
    files.scores = files.write(measured()).scores.with_suffix(".parquet")
    files.scores.write_bytes(content)
    return files.run()


def test_parquet_without_pyarrow_says_what_to_install(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, name, None)
    refused = parquet(files, b"PAR1 and so on PAR1")
    assert refused.exit_code == 2 and "scores.parquet: parquet needs a package: pip install pyarrow" in refused.stderr


def test_broken_parquet_is_one_line(files: Files) -> None:
    pytest.importorskip("pyarrow")
    refused = parquet(files, b"PAR1" + bytes(64) + b"PAR1")
    (line,) = refused.stderr.splitlines()
    assert refused.exit_code == 2 and "scores.parquet cannot be read as parquet (" in line


def test_parquet_is_read_as_csv_is(files: Files) -> None:
    pytest.importorskip("pyarrow")
    import pandas as pd

    files.write(measured())
    table = files.scores.with_suffix(".parquet")
    pd.read_csv(files.scores).to_parquet(table)
    assert [row[1:] for row in read_table(table)] == [row[1:] for row in read_table(files.scores)]


def lm_eval(value: float) -> dict[str, Any]:
    scores = {"alias": "arc", "acc,none": value, "acc_stderr,none": 0.1, "exact_match,strict-match": value}
    return {
        "results": {"arc": scores},
        "versions": {"arc": 1.0},
        "n-shot": {"arc": 0},
        "n-samples": {"arc": {"effective": 4}},
    }


def inspect(value: float, marks: str) -> dict[str, Any]:
    metrics = {"accuracy": {"name": "accuracy", "value": value}, "stderr": {"name": "stderr", "value": 0.1}}
    samples = [{"id": i, "epoch": 1, "scores": {"match": {"value": mark}}} for i, mark in enumerate(marks)]
    results = {"total_samples": 4, "scores": [{"name": "match", "scorer": "match", "metrics": metrics}]}
    return {
        "status": "success",
        "eval": {"task": "trivia", "dataset": {"name": "t"}},
        "results": results,
        "samples": samples,
    }


def test_logs_of_harnesses_are_read_by_arm_and_seed(tmp_path: Path, files: Files) -> None:
    logs = tmp_path / "logs"
    for arm, level in (("a", 3), ("b", 1)):
        for seed in SEEDS:
            place = logs / arm / f"seed{seed}" / "model"
            place.mkdir(parents=True)
            right = level + (seed == 0)
            (place / "results_2026.json").write_text(json.dumps(lm_eval(right / 4)))
            samples = [{"doc_id": i, "filter": "none", "acc": float(i < right)} for i in range(4)]
            (place / "samples_arc_2026.jsonl").write_text("\n".join(map(json.dumps, samples)))
            (place / "log.json").write_text(json.dumps(inspect(right / 4, "C" * right + "I" * (4 - right))))
    files.claims.write_text(yaml.safe_dump({"alpha": 0.05, "claims": [CLAIM | {"metric": "arc/acc"}]}))
    _, study, (answer,) = import_table(logs, files.claims, files.out)
    assert answer.verdict.n_items == 4 and answer.verdict.n_seeds == 3 and not remarks(study)
    assert study.metrics == {"arc/acc", "arc/exact_match[strict-match]", "trivia/accuracy"}
    assert list(study.values("b", "trivia/accuracy")) == [0.5, 0.25, 0.25]
    assert "300" not in answer.verdict.scope and "4 questions" in answer.verdict.scope
    (logs / "stray.json").write_text(json.dumps(lm_eval(0.5)))
    with pytest.raises(ValueError, match=r"does not say of which run it is: put it into .*/ARM/seedK/"):
        import_table(logs, files.claims, tmp_path / "new")


def test_an_evaluation_that_failed_is_no_log(tmp_path: Path, files: Files) -> None:
    place = tmp_path / "logs" / "a" / "0"
    place.mkdir(parents=True)
    (place / "log.json").write_text(json.dumps(inspect(0.5, "CI") | {"status": "error"}))
    files.claims.write_text(yaml.safe_dump({"alpha": 0.05, "claims": [CLAIM]}))
    with pytest.raises(ValueError, match="ended with status 'error'"):
        import_table(tmp_path / "logs", files.claims, files.out)


def test_an_empty_table_and_two_studies_are_refused() -> None:
    with pytest.raises(ValueError, match="has no rows"):
        checked([], "scores.csv")
    rows = [("1", {"study": name, "arm": "a", "seed": "0", "metric": name, "value": "1"}) for name in ("x", "y")]
    with pytest.raises(ValueError, match="import one study at a time"):
        checked(rows, "scores.csv")


def test_export_leaves_a_study_alone(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    refused = runner.invoke(app, ["study", "export", str(study), str(study)])
    assert refused.exit_code == 2 and "holds a study of its own" in refused.stderr
    assert runner.invoke(app, ["study", "export", str(study), str(tmp_path / "out")]).exit_code == 0
    assert (tmp_path / "out" / "claims.yaml").is_file()
