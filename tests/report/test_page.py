"""The page: complete, escaped, and readable without anything beside it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from unimm.report import page
from unimm.report.opening import spread
from unimm.report.page import print_scores, print_summary
from unimm.report.rendering import breakable, held, with_code
from unimm.report.table import duration, headline, number
from unimm.runs import record
from unimm.runs.record import Result, ScoreRecord

FETCHING = ("src", "href", "srcset", "data", "action")


class Links(HTMLParser):
    """Collects every tag, and every attribute that could fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in FETCHING]


def test_html_is_self_contained_and_escaped(run_dir: Path) -> None:
    path = page.write(run_dir)
    assert path == run_dir / "report.html"
    text = path.read_text(encoding="utf-8")
    links = Links()
    links.feed(text)
    fetched = [value for value in links.fetched if not value.startswith("#")]
    assert len(fetched) == 4, "three samples and one figure"
    assert all(value.startswith("data:image/png;base64,") for value in fetched)
    assert not re.search(r"url\(|@import", text)
    assert not {"script", "link", "b", "iframe"} & set(links.tags)
    assert "&lt;script&gt;" in text and "&lt;b&gt;bold" in text


def test_all_numbers_are_present(run_dir: Path, golden: dict[str, Any]) -> None:
    html = page.write(run_dir).read_text(encoding="utf-8")
    markdown = (run_dir / "report.md").read_text(encoding="utf-8")
    scores = golden["scores"]
    wanted = {f"{score['n']:,}" for score in scores} | {number(score["value"]) for score in scores}
    for references in (*golden["floors"].values(), *golden["ceilings"].values()):
        wanted |= {number(value) for value in references.values()}
    wanted |= {"412.4", "10.7 min", "240,000", "2,812,345", "1f" * 32, "2.14.1"}
    wanted |= {"floor", "decoder ceiling"}
    for text in (html, markdown):
        assert not {value for value in wanted if value not in text}


def test_values_sit_in_their_own_row(run_dir: Path) -> None:
    markdown = (page.write(run_dir).parent / "report.md").read_text(encoding="utf-8")
    lines = [line for line in markdown.splitlines() if line.startswith("| GenEval")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert [row[1:] for row in rows if row[1] in ("counting", "overall")] == [
        ["counting", "0.113", "80", "", ""],
        ["overall", "0.193", "553", "0.022", "0.922"],
    ]


def test_markdown_tables_are_whole(run_dir: Path) -> None:
    page.write(run_dir)
    markdown = (run_dir / "report.md").read_text(encoding="utf-8")
    header = markdown.index("| group")
    table = markdown[header : markdown.index("\n\n", header)].splitlines()
    assert len(table) == 2 + 22 + 5, "header, rule, 22 scores, 5 costs, no blank line between"
    assert {line.count("|") for line in table} == {7}
    assert "a &lt;script>" in markdown and "\\| circle" in markdown


def test_marks_follow_the_judge(run_dir: Path) -> None:
    text = page.write(run_dir).read_text(encoding="utf-8")
    captions = re.findall(r"<figcaption>.*?</figcaption>", text, re.DOTALL)
    assert [("✓ correct" in caption, "✗ wrong" in caption) for caption in captions] == [
        (True, False), (False, True), (True, False)
    ]  # fmt: skip
    assert "2 of the 3 images on this page are correct" in text


def test_plugin_scores_and_unmeasured_values_are_shown(run_dir: Path, golden: dict[str, Any]) -> None:
    golden["scores"].append({"name": "diversity/places", "value": 0.7654, "n": 77, "protocol": {}})
    golden["scores"][14]["value"] = None
    (run_dir / "result.json").write_text(json.dumps(golden))
    text = page.write(run_dir).read_text(encoding="utf-8")
    assert "diversity/places" in text and "0.765" in text and "n/a" in text


def test_the_judges_card_is_shown(run_dir: Path, golden: dict[str, Any]) -> None:
    right = {"accuracy": 1.0, "confusion": {"red": {"red": 10}}}
    wrong = {"accuracy": 0.7, "confusion": {"ring": {"ring": 7, "circle": 2, "nothing": 1}}}
    views = {"real": right, "decoder": wrong}
    golden["judge_card"] = {
        "images": 240,
        "views": {n: {"shape": v, "colour": right, "count": right, "surplus": 0.25} for n, v in views.items()},
    }
    (run_dir / "result.json").write_text(json.dumps(golden))
    html = page.write(run_dir).read_text(encoding="utf-8")
    markdown = (run_dir / "report.md").read_text(encoding="utf-8")
    assert "| through encoder and decoder | 0.700 | 1.000 | 1.000 | 0.250 | ring as circle (20%) |" in markdown
    assert "| as rendered | 1.000 | 1.000 | 1.000 | 0.250 | none |" in markdown
    for text in (html, markdown):
        assert "The judge on 240 images whose content is known" in text and "ring as circle (20%)" in text


CHANGE = {"n": 75, "before": 0.52, "after": 0.48, "effect": -0.04, "low": -0.1, "high": 0.02, "gained": 3, "lost": 6}


@pytest.mark.parametrize(
    ("retention", "shown"),
    [
        ({"start": "understanding", "exact": False, "kinds": {"count": CHANGE}}, "-0.040 (-0.100 to +0.020)"),
        ({"start": "understanding", "exact": True, "kinds": {"count": {**CHANGE, "low": None}}}, "exactly 0"),
        ({"start": "language", "exact": False, "kinds": {}}, "There is no before"),
    ],
)
def test_retention_is_an_effect_a_fact_or_absent(run_dir, golden, retention, shown) -> None:
    golden["retention"] = retention
    (run_dir / "result.json").write_text(json.dumps(golden))
    html = page.write(run_dir).read_text(encoding="utf-8")
    for text in (html.replace("\u00a0", " "), (run_dir / "report.md").read_text(encoding="utf-8")):
        assert shown in text and "Understanding before and after generation training" in text


def test_standard_errors_stand_beside_their_values(run_dir: Path, golden: dict[str, Any]) -> None:
    next(s for s in golden["scores"] if s["name"] == "geneval/overall")["stderr"] = 0.0123
    (run_dir / "result.json").write_text(json.dumps(golden))
    assert "0.193 ± 0.012" in page.write(run_dir).read_text(encoding="utf-8")
    console = Console(width=160, record=True)
    print_summary(Result.model_validate(golden), run_dir / "report.html", console)
    biased = {"biased": True, "expected bias": 7.25}
    fid = ScoreRecord(name="fid", value=12.5, n=100, protocol=biased)
    print_scores([fid, ScoreRecord(name="coverage", value=0.5, n=100, protocol={}, stderr=0.02)], console)
    text = console.export_text()
    assert re.search(r"fid +12\.50 \(chance 7\.25, biased\) +100", text)
    assert "0.193 ± 0.012" in text and re.search(r"coverage +0\.500 ± 0\.020 +100", text)


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (22_000.0, 22_000.0, "| yes | 22,000 | 2.200 | 22.0 s |"),
        (64_000.0, None, "| not reached in 64,000 samples | ≥ 64,000 | ≥ 6.400 | ≥ 64.0 s |"),
        (41_000.0, None, "| at the last snapshot only, which none confirms | ≥ 41,000 | ≥ 4.100 | ≥ 41.0 s |"),
        (0.0, 500.0, "before the first snapshot | &lt; 500 | &lt; 0.050 | &lt; 0.5 s |"),
    ],
)
def test_preset_scores_are_reached_or_censored(run_dir, golden, low, high, shown) -> None:
    bounds = {
        name: {"low": low * unit, "high": None if high is None else high * unit}
        for name, unit in (("samples", 1), ("flops", 1e8), ("seconds", 1e-3))
    }
    golden["efficiency"] = {
        **dict.fromkeys(("train_flops_per_sample", "train_flops", "sampling_flops_per_image"), 1e9),
        "peak_memory_bytes": 2**30,
        "sampling_seconds_per_image": 0.125,
        "reached": [{"score": "atoms/overall", "target": 0.5, **bounds}],
    }
    point = {"step": 1, "n": 10, "scores": {"atoms/overall": 0.1}}
    golden["curve"] = [{**point, "samples": 500}, {**point, "samples": 64_000}]
    (run_dir / "result.json").write_text(json.dumps(golden))
    page.write(run_dir)
    markdown = (run_dir / "report.md").read_text(encoding="utf-8")
    assert shown in markdown and "Atoms, overall: 0.5" in markdown
    assert "sampling time (seconds an image) | 0.125" in markdown


def test_unfinished_run_says_what_is_missing(run_dir: Path) -> None:
    (run_dir / "result.json").unlink()
    with pytest.raises(ValueError, match=r"not a finished run: it has no result\.json"):
        page.write(run_dir)


def test_sample_outside_the_run_is_refused(run_dir: Path) -> None:
    grid = [{"prompt": "x", "tag": "colors", "file": "../secret.png", "correct": True, "index": 0}]
    (run_dir / "samples" / "grid.json").write_text(json.dumps(grid))
    with pytest.raises(ValueError, match="outside the run folder"):
        page.write(run_dir)


def test_run_with_a_file_for_every_image_has_the_same_page(run_dir: Path) -> None:
    html = page.write(run_dir).read_text(encoding="utf-8")
    markdown = (run_dir / "report.md").read_text(encoding="utf-8")
    assert markdown.count("](samples/sheet.png)") == 1 and "| row 1, column 2 | a red square |" in markdown
    run = record.read(run_dir)
    rows = [sample.model_dump(exclude={"box"}) for sample in run.samples]
    for place, (row, sample) in enumerate(zip(rows, run.samples, strict=True)):
        row["file"] = f"samples/{place:05d}.png"
        (run_dir / row["file"]).write_bytes(run.image(sample))
    (run_dir / "samples" / "sheet.png").unlink()
    (run_dir / "samples" / "grid.json").write_text(json.dumps(rows))
    assert page.write(run_dir).read_text(encoding="utf-8") == html
    assert "| ![](samples/00001.png) | a red square |" in (run_dir / "report.md").read_text(encoding="utf-8")


def test_run_without_steps_or_samples(run_dir: Path) -> None:
    (run_dir / "metrics.jsonl").write_text("")
    (run_dir / "samples" / "grid.json").write_text("[]")
    text = page.write(run_dir).read_text(encoding="utf-8")
    assert "No samples were kept" in text and "logged no training steps" in text


def test_smoothing_keeps_length_and_constants() -> None:
    assert page.smoothing_window(0) == 1 and page.smoothing_window(200) == 11
    np.testing.assert_allclose(page.smooth(np.full(7, 3.0), 5), 3.0)
    np.testing.assert_allclose(page.smooth(np.array([0.0, 3.0, 6.0]), 3), [1.5, 3.0, 4.5])


def test_numbers_read_well() -> None:
    values = (0.0, 1.0, 37.4213, 412.37, float("nan"))
    assert [number(value) for value in values] == ["0.000", "1.000", "37.42", "412.4", "n/a"]
    durations = [duration(value) for value in (3.0, 600.0, 7200.0)]
    assert durations == ["3.0 s", "10.0 min", "2.0 h"]


def test_terminal_summary_shows_the_table_and_the_page(golden: dict[str, Any]) -> None:
    golden["arm"] = "clip[red]"
    console = Console(width=120, record=True)
    print_summary(Result.model_validate(golden), Path("runs/a/report.html"), console)
    text = console.export_text()
    assert "clip[red], seed 3" in text and text.rstrip().endswith("Report: runs/a/report.html")
    assert re.search(r"GenEval-style score .* 0\.193 .* 553 .* 0\.022 .* 0\.922", text)
    assert "All 22 scores: runs/a/report.md" in text and "samples in" in text


def test_a_ceiling_of_other_scores_takes_no_column_of_its_own(golden: dict[str, Any]) -> None:
    """Answers that are all right are the ceiling of understanding, of which real images have none."""
    golden["ceilings"] = {"real": {"geneval/overall": 1.0}, "decoder": {"geneval/overall": 0.9}}
    golden["ceilings"] |= {"all_right": {"understanding/above_blind": 0.6}}
    found = headline(Result.model_validate(golden))
    assert found.references == ("floor", "real ceiling", "decoder ceiling")
    row = next(row for row in found.rows if row.name == "understanding/above_blind")
    assert row.references[1:] == ("0.600", "")


def test_the_terminal_keeps_the_names_of_scores_beside_a_long_value(golden: dict[str, Any]) -> None:
    protocol = {"biased": True, "expected bias": 1234.5}
    golden["scores"].append(
        {"name": "frechet_distance", "value": 2024.0, "n": 8, "stderr": 168.0, "protocol": protocol}
    )
    console = Console(width=80, record=True)
    print_summary(Result.model_validate(golden), Path("report.html"), console)
    text = console.export_text()
    assert re.search(r"Fréchet distance +2,024 ± 168\.0", text) and "(chance 1,234, biased)" in text


def test_a_page_opens_with_question_arm_numbers_and_images(run_dir: Path, golden: dict[str, Any]) -> None:
    shared = {"encoder": {"name": "clip"}, "objective": {"name": "flow_matching"}, "strategy": {"name": "joint"}}
    golden["config"] = {"question": "How good?", **shared}
    (run_dir / "result.json").write_text(json.dumps(golden))
    html = page.write(run_dir).read_text(encoding="utf-8")
    first = html[html.index("<body>") : html.index("<nav")]
    assert "<h1>How good?</h1>" in first and first.count("<img") == 3
    assert "CLIP features are predicted with flow matching, and the backbone trains jointly on understanding." in first
    values = re.findall(r'class="value">(.*?)<', first)
    assert values == [number(value) for value in (0.193, 0.5734, 0.7603)], "whole prompts, single facts, answers"
    assert "floor 0.022, ceiling 0.922, of 553" in first
    markdown = (run_dir / "report.md").read_text(encoding="utf-8")
    assert (
        markdown.startswith("# How good?\n")
        and "| whole prompts right (fraction) | 0.193 | 0.022 | 0.922 | 553 |" in markdown
    )


def test_a_page_without_a_question_is_called_by_its_arm(run_dir: Path, golden: dict[str, Any]) -> None:
    golden["config"] = {}
    (run_dir / "result.json").write_text(json.dumps(golden))
    assert f"<h1>{golden['arm']}, seed 3</h1>" in page.write(run_dir).read_text(encoding="utf-8")


def test_every_section_stands_in_the_contents(run_dir: Path) -> None:
    html = page.write(run_dir).read_text(encoding="utf-8")
    links = re.findall(r'<a href="#(.*?)">(.*?)</a>', html)
    assert [title for _, title in links] == re.findall(r"<h2>(.*?)</h2>", html)
    assert [anchor for anchor, _ in links] == re.findall(r'<div id="(.*?)">', html)
    assert ("scores", "Scores") in links and ("provenance", "Provenance") in links


def test_opening_images_lie_at_even_distances() -> None:
    assert spread(range(36)) == list(range(0, 36, 3)) and spread([1, 2]) == [0, 1] and spread([]) == []


def test_no_line_breaks_a_number_apart_and_a_long_name_may_be_broken() -> None:
    assert held("0.6 ± 0.01\n[-; 0.98]").split(" ") == ["0.6\u00a0±\u00a00.01\n[-;\u00a00.98]"]
    assert held("-0.2 to -0.1 (chance 25 %)").split(" ") == ["-0.2\u00a0to\u00a0-0.1", "(chance", "25\u00a0%)"]
    assert held("no such setting; first of 3") == "no such setting; first of 3"
    assert breakable("clip_fm") == "clip_fm"
    assert breakable("clip_fm_needs_fewer_<samples>") == "clip_<wbr>fm_<wbr>needs_<wbr>fewer_<wbr>&lt;samples&gt;"
    assert with_code("set `tuned: <x>` here") == "set <code>tuned: &lt;x&gt;</code> here"
