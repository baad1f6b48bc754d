"""The study's report: complete, escaped, self-contained, and honest about what is missing."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from synthetic_study import ARMS, HOSTILE, TASKS, freeze, write_study

from unimm.analysis.claims import BestCell, Difference, NonInferiority
from unimm.report.study import answers, compare, page
from unimm.report.study.figures import grid_figure

FETCHING = ("src", "href", "srcset", "data", "action")
SECTIONS = (
    "Samples",
    "Claims in full",
    "The paper's ordering beside ours",
    "Outside evidence",
    "Effects",
    "Arms",
    "Main effects and interactions",
    "Learning curves",
    "Trade-offs",
    "Fairness ledger",
    "Completeness and guards",
    "All scores",
    "Provenance",
)


class Page(HTMLParser):
    """Tags, attributes that could fetch something, and headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in FETCHING]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study with its report."""
    made = write_study(tmp_path_factory.mktemp("study"))
    assert page.write(made) == made / "report.html"
    return made


def test_page_is_self_contained_and_escaped(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    outside = [value for value in page.fetched if not value.startswith(("data:image/", "#"))]
    assert not outside and not re.search(r"url\(|@import", text)
    assert not {"script", "link", "b", "iframe", "seeds"} & set(page.tags)
    assert "&lt;script&gt;" in text and "&lt;seeds&gt;" in text and "&lt;b&gt;typo" in text
    assert sum(value.startswith("data:image/svg+xml") for value in page.fetched) == 5
    assert sum(value.startswith("data:image/png") for value in page.fetched) == 12 * len(ARMS)


def test_sections_come_in_order(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    assert [title.replace("&#39;", "'") for title in titles] == list(SECTIONS)
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", markdown, re.MULTILINE) == list(SECTIONS)


def test_first_screen_says_what_how_sure_and_what_not(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    first = text[: text.index("<h2>")]
    assert "24 of 24 runs finished" in first and "What this does not show" in first and "How sure" in first
    assert "the world scenes-nano, profile nano, 3.0 to 4.7 M trainable parameters, with 3 seeds an arm" in first
    assert first.count('class="chip') == 15
    assert "Yes: GenEval-style score higher with clip by +0." in first
    assert "Yes: Fréchet distance lower with flow matching by +1" in first
    assert "That does not allow for the amendments" in first


def test_open_claims_say_what_would_decide(tmp_path: Path) -> None:
    report = page.build(write_study(tmp_path, effects=False))
    still_open = [answer.sentence for answer in report.answers if answer.verdict.outcome == "inconclusive"]
    ways = (
        r"as estimated, about [\d,]+ seeds an arm decide 4 times in 5|(prompts|checkpoints) are needed, not more seeds"
    )
    assert still_open and all(re.search(ways, sentence) for sentence in still_open)


def test_an_estimate_against_the_claim_is_told_the_way_it_points(tmp_path: Path) -> None:
    """Nobody reads "higher by -0.08", whether the claim is open or decided."""
    report = page.build(write_study(tmp_path, effects=False))
    against = [answer for answer in report.answers if (answer.verdict.estimate or 0) < 0]
    assert any(answer.verdict.outcome == "inconclusive" for answer in against)
    turned = {"higher": "lower", "lower": "higher"}
    for answer in against:
        assert isinstance(answer.claim, Difference | BestCell | NonInferiority) and answer.verdict.estimate is not None
        assert f" {turned[answer.claim.direction]} with " in answer.sentence
        shown = re.search(r" by (\S+) \((\S+) to (\S+)\)", answer.sentence)
        assert shown is not None and not shown[1].startswith("-")
        ends = [float(end.replace(",", "")) for end in shown.groups()]
        wanted = [-answer.verdict.estimate, -(answer.verdict.high or 0), -(answer.verdict.low or 0)]
        assert ends == pytest.approx(wanted, abs=0.006, rel=1e-3)


@pytest.mark.parametrize(("encoder", "called"), [("coarse_pixels", "coarse pixels"), ("my_own.part:My_Own", "My Own")])
def test_what_a_comparison_favours_is_called_by_its_name_alone(encoder: str, called: str) -> None:
    """A component that is not registered has its module in its name, which no sentence needs."""
    claim = Difference.model_validate(
        {"id": "a_over_b", "text": "a is better than b.", "kind": "difference", "role": "primary", "metric": "acc"}
        | {"direction": "higher", "budget": "generation_samples", "contrast": {"a": 1, "b": -1}, "smallest_effect": 0.1}
    )
    made_of = {"a": encoder, "b": "vae"}
    arms = {arm: SimpleNamespace(component={"encoder": name}.get) for arm, name in made_of.items()}
    assert answers._favoured(claim, SimpleNamespace(plan=SimpleNamespace(arms=arms))) == called


def test_ratios_of_scores_are_told_as_ratios(tmp_path: Path) -> None:
    """Fréchet distances on the logarithmic scale, claimed the right way round and the wrong one."""
    folder = write_study(tmp_path)
    plan = json.loads((folder / "plan.json").read_text())
    entry = next(claim for claim in plan["claims"]["claims"] if claim["id"] == "fm_over_mse_quality")
    del entry["smallest_effect"]
    entry |= {"scale": "log", "smallest_ratio": 1.05}
    turned = entry | {"id": "turned", "contrast": {"clip_mse": 1, "clip_fm": -1}}
    claims = {"alpha": 0.05, "claims": [entry, turned]}
    freeze(folder, plan | {"claims": claims})
    report = page.build(folder)
    right, wrong = (answer.sentence for answer in report.answers)
    assert re.match(r"Yes: Fréchet distance lower with flow matching by x1\.\d+ \(x1\.\d+ to x\d\.\d+\)\.", right)
    assert re.match(r"No, the reverse: Fréchet distance higher with mse by x1\.\d+ \(x1\.\d+ to x\d\.\d+\)\.", wrong)
    assert report.tables["claims"].rows[0][3].startswith("x1.") and report.tables["claims"].rows[0][7] == "x1.05"
    assert page.draw(report, ["effects"])["effects"].svg


def test_markdown_tables_are_whole_and_pictures_exist(folder: Path) -> None:
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    for table in re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE):
        lines = table.splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1, lines[0]
        assert re.fullmatch(r"\|( -+:? \|)+", lines[1])
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", markdown)
    assert len(pictures) == 7
    for picture in pictures:
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (folder / picture).with_suffix(".svg").read_bytes()


def test_scores_hold_every_number_once(folder: Path) -> None:
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    keys = {(row["study"], row["arm"], row["seed"], row["metric"]) for row in rows}
    assert len(keys) == len(rows) == 24 * (len(TASKS) + 8), "those of the files, and understanding above blind"
    run = json.loads((folder / "runs/vae_fm/seed2/result.json").read_text())
    own = {row["metric"]: float(row["value"]) for row in rows if (row["arm"], row["seed"]) == ("vae_fm", "2")}
    above = own.pop("understanding/above_blind")
    assert above == own["understanding/overall"] - run["floors"]["blind"]["understanding/overall"]
    assert own == {score["name"]: score["value"] for score in run["scores"]}


def test_latex_fragments_are_whole(folder: Path) -> None:
    names = {path.stem for path in (folder / "tables").glob("*.tex")}
    assert names >= {"claims", "arms", "scores", "factorial", "ledger", "figure4"}
    for path in (folder / "tables").glob("*.tex"):
        text = path.read_text(encoding="utf-8")
        columns = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", text)[1])  # type: ignore[index]
        body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
        assert r"\midrule" in body and not re.search(r"(?<!\\)[%_#]", body)
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert rows and {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {columns - 1}


def test_every_arm_has_a_card(folder: Path) -> None:
    assert {path.stem for path in (folder / "cards").glob("*.md")} == set(ARMS)
    card = (folder / "cards/vae_mse_joint.md").read_text(encoding="utf-8")
    for expected in ("| target | vae |", "What this is not", "131,840 understanding", "runs/vae_mse_joint/seed2", "±"):
        assert expected in card


def test_a_second_report_is_the_same(folder: Path) -> None:
    before = (folder / "figures/scores.svg").read_bytes()
    report = page.build(folder)
    assert page.draw(report, ["scores"])["scores"].svg == before


def test_missing_and_failed_runs_are_named_and_stop_their_claims(tmp_path: Path) -> None:
    gone = [("clip_fm", 2), ("vae_mse_joint", 0)]
    write_study(tmp_path, missing=gone)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/clip_fm-seed2.log").write_text("step 3\n--- failed: the loss is not finite\n")
    report = page.build(tmp_path)
    verdicts = {answer.claim.id: answer.verdict for answer in report.answers}
    assert verdicts["clip_over_vae_alignment"].outcome == "untestable"
    assert verdicts["clip_over_vae_alignment"].note == "guard complete: runs not finished: clip_fm seed 2"
    assert verdicts["joint_loses_understanding"].outcome == "untestable"
    rows = {row[0]: row[1:] for row in report.tables["completeness"].rows}
    assert rows["clip_fm"][2] == "failed: the loss is not finite"
    assert rows["vae_mse_joint"][0] == "not started" and rows["vae_fm"][0] == "finished in 560.0 s"
    assert report.grid is not None and report.grid.seed == 1, "the first seed that every arm has"


def test_a_study_without_any_run_still_has_a_report(tmp_path: Path) -> None:
    write_study(tmp_path, missing=[(arm, seed) for arm in ARMS for seed in range(3)])
    text = page.write(tmp_path).read_text(encoding="utf-8")
    assert "0 of 24 runs finished" in text and "15 untestable" in text and "svg+xml" not in text


def test_a_folder_without_a_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no study: it has no plan\.json"):
        page.write(tmp_path)


def test_two_studies_side_by_side(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "FIGURES", ("effects",))
    other = write_study(tmp_path / "alike", effects=False)
    plan = json.loads((other / "plan.json").read_text())
    freeze(other, plan | {"name": "alike <b>"})
    path = compare.write(folder, other, tmp_path / "out")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    fetched = [value for value in page.fetched if not value.startswith("#")]
    assert len(fetched) == 2 and all(value.startswith("data:image/svg+xml") for value in fetched)
    assert "b" not in page.tags and "alike &lt;b&gt;" in text
    row = re.search(r'<tr class="marked"><th scope="row">Joint training loses understanding.*?</tr>', text)
    assert row and "✓ supported" in row[0], "planted in one study, absent from the other"
    assert "## What differs between the studies" in (tmp_path / "out/compare.md").read_text(encoding="utf-8")


def test_studies_with_other_arms_compare(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "FIGURES", ())
    other = write_study(tmp_path / "one")
    plan = json.loads((other / "plan.json").read_text())
    claim = next(claim for claim in plan["claims"]["claims"] if claim["id"] == "sequential_keeps_understanding")
    claims = {"alpha": 0.05, "claims": [{**claim, "holds": {"backbone_unchanged": ["clip_fm"]}}]}
    arms = {"clip_fm": plan["arms"]["clip_fm"]}
    freeze(other, plan | {"arms": arms, "claims": claims})
    text = compare.write(folder, other, tmp_path).read_text(encoding="utf-8")
    assert "no such claim" in text and "Figure 4" not in text, "one of them has no three arms to put in order"
    assert str(folder) in text and str(other) in text, "two studies of one name are told apart by their folders"


def test_the_papers_ordering_is_shown_where_its_arms_are_planned(folder: Path, tmp_path: Path) -> None:
    assert "figure4" in page.build(folder).tables
    waiting = page.build(write_study(tmp_path / "waiting", missing=[("vae_fm", seed) for seed in range(3)]))
    assert "not all three arms have run" in waiting.tables["figure4"].rows[0]
    plan = json.loads((tmp_path / "waiting/plan.json").read_text())
    claims = {
        "alpha": 0.05,
        "claims": [claim for claim in plan["claims"]["claims"] if claim["id"] == "fm_over_mse_atoms"],
    }
    own = {"arms": {arm: plan["arms"][arm] for arm in ("clip_fm", "clip_mse")}, "claims": claims}
    freeze(tmp_path / "waiting", plan | own)
    assert "figure4" not in page.build(tmp_path / "waiting").tables


@pytest.mark.parametrize("arms", [1, 8])
def test_sample_pictures_have_room_for_their_prompts(folder: Path, arms: int) -> None:
    grid = page.build(folder).grid
    assert grid is not None
    long = tuple("a photo of a triangle left of a circle" for _ in grid.prompts)
    few = replace(grid, arms=grid.arms[:arms], prompts=long, rows=tuple(row[:arms] for row in grid.rows))
    pixels = matplotlib.image.imread(io.BytesIO(grid_figure(few).png))[..., :3]
    ink = (pixels < 0.9).any(2)
    assert ink.any() and not ink[[0, -1]].any() and not ink[:, [0, 1, -2, -1]].any(), "nothing touches an edge"
    assert ink[:, : ink.shape[1] // 4].any(), "the prompts stand there"


def test_captions_of_samples_are_those_of_the_prompts(folder: Path) -> None:
    report = page.build(folder)
    assert report.grid is not None and report.grid.prompts[0] == HOSTILE
    assert report.grid.arms == tuple(ARMS) and len(report.grid.rows) == 12
