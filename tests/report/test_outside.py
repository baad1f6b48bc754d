"""Outside evidence stands beside the claims of its contrasts, every number with a source, and decides nothing."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from synthetic_study import write_study

from unimm.analysis import figure4, outside
from unimm.analysis.claims import Difference
from unimm.analysis.outside import Comparison, Evidence, contrast_of, outside_evidence
from unimm.registry import encoders
from unimm.report.study import page
from unimm.report.study.outside import outside_table

CLAIM = {
    "id": "c",
    "text": "So.",
    "kind": "difference",
    "role": "primary",
    "metric": "geneval/overall",
    "direction": "higher",
    "budget": "generation_samples",
    "smallest_effect": 0.02,
}
ROW = {
    "work": "Work",
    "date": "2026-01",
    "contrast": "semantic_over_vae",
    "about": "alignment",
    "measure": "GenEval",
    "scale": "1 B",
    "runs": "one run an arm",
    "read": "paper",
    "source": "arXiv 2601.00001",
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> page.StudyReport:
    return page.build(write_study(tmp_path_factory.mktemp("study")))


def test_every_number_has_scale_runs_and_source() -> None:
    evidence = outside_evidence()
    assert {each.work for each in evidence.comparisons} == {
        *("BLIP3-o", "DiffusionBench", "Scale-RAE", "VUGEN", "Beyond Language Modeling", "RAEv2")
    }
    text = (Path(outside.__file__).with_name("outside_evidence.yaml")).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("  - {")]
    assert len(rows) == len(evidence.comparisons), "a line for each"
    assert all(re.search(r"scale: .+runs: .+source: .*arXiv \d{4}\.\d{5}", row) for row in rows)


def test_the_papers_rows_are_the_digitised_figure() -> None:
    measures = {"GenEval (%)": "geneval", "DPG-Bench (%)": "dpg", "FID (MJHQ-30k)": "fid"}
    arms = {"semantic_over_vae": ("clip_fm", "vae_fm"), "flow_over_regression": ("clip_fm", "clip_mse")}
    rows = [each for each in outside_evidence().comparisons if each.work == "BLIP3-o"]
    assert len(rows) == len(measures) * len(arms)
    for each in rows:
        last = figure4.last(measures[each.measure])
        assert (each.first, each.second) == tuple(last[arm] for arm in arms[each.contrast])
        assert (each.better == "higher") is figure4.METRICS[measures[each.measure]]


@pytest.mark.parametrize(
    ("numbers", "side"),
    [
        ({"first": 0.6, "second": 0.5}, "first"),
        ({"first": 9.0, "second": 11.0, "better": "lower"}, "first"),
        ({"first": 0.5, "second": 0.5}, "neither"),
        ({"times": 0.5}, "second"),
        ({"ahead": "second"}, "second"),
    ],
)
def test_a_row_says_which_side_is_ahead(numbers: dict[str, Any], side: str) -> None:
    assert Comparison.model_validate(ROW | numbers).side == side


@pytest.mark.parametrize("numbers", [{}, {"first": 0.5}, {"times": 2.0, "ahead": "first"}])
def test_a_row_that_says_nothing_or_two_things_is_refused(numbers: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give first and second, or times, or ahead"):
        Comparison.model_validate(ROW | numbers)


def test_a_claim_is_about_the_one_setting_in_which_its_sides_differ() -> None:
    settings = {
        name: {"encoder.name": encoder, "objective.name": objective, "strategy.name": "sequential"}
        for name, encoder, objective in (
            ("a", "clip", "flow_matching"),
            ("b", "vae", "flow_matching"),
            ("c", "clip", "mse"),
            ("d", "vae", "mse"),
        )
    }
    known = outside_evidence().contrasts

    def found(contrast: dict[str, float]) -> tuple[str, bool] | None:
        return contrast_of(Difference.model_validate(CLAIM | {"contrast": contrast}), settings, known)

    assert found({"a": 1, "b": -1}) == ("semantic_over_vae", True)
    assert found({"b": 1, "a": -1}) == ("semantic_over_vae", False)
    assert found({"a": 0.5, "b": 0.5, "c": -0.5, "d": -0.5}) == ("flow_over_regression", True)
    assert found({"a": 1, "d": -1}) is None, "two settings differ"


def test_every_encoder_stands_on_its_side() -> None:
    known = outside_evidence().contrasts
    semantic, vae, pixels = (
        set(side)
        for side in (
            known["semantic_over_vae"].first,
            known["semantic_over_vae"].second,
            known["semantic_over_pixels"].second,
        )
    )
    assert (set(known["semantic_over_pixels"].first), set(known["vae_over_pixels"].first)) == (semantic, vae)
    assert len(semantic | vae | pixels) == len(semantic) + len(vae) + len(pixels)
    own = {name for name in encoders.names() if str(encoders.get(name).__module__).startswith("unimm.")}
    assert own - (semantic | vae | pixels) == {"side_by_side", "vae_lift"}


@pytest.mark.parametrize("tower", ["timm_vision", "transformers_vision", "clip_layers"])
@pytest.mark.parametrize("other", ["autoencoder_kl", "autoencoder_wan", "vae"])
def test_a_tower_s_sum_of_blocks_is_compared_with_a_vae_that_has_none(tower: str, other: str) -> None:
    settings = {"a": {"encoder.name": tower, "encoder.layers": 1}, "b": {"encoder.name": other}}
    claim = Difference.model_validate(CLAIM | {"contrast": {"a": 1, "b": -1}})
    assert contrast_of(claim, settings, outside_evidence().contrasts) == ("semantic_over_vae", True)


def test_the_page_shows_signs_runs_and_scale_beside_its_own_effect(report: page.StudyReport) -> None:
    table = report.tables["outside"]
    rows = [dict(zip(table.headers, row, strict=True)) for row in table.rows]
    first = next(row for row in rows if row["claim"] == "clip_over_vae_alignment")
    assert first["work"] == "BLIP3-o (2025-05)" and first["numbers"] == "31.9 against 21.4"
    assert first["scale"] == "33k steps" and first["runs"] == "one run an arm" and "arXiv 2505.09568" in first["source"]
    signs = {(row["claim"], row["work"], row["measure"]): row["same sign?"] for row in rows}
    # Planted: CLIP is ahead of VAE by 0.2, and DiffusionBench has semantic features behind by 0.011.
    assert signs["clip_over_vae_alignment", "BLIP3-o (2025-05)", "GenEval (%)"] == "yes"
    assert signs["clip_over_vae_alignment", "DiffusionBench (2026-06)", "GenEval"] == "no"
    speed = [row for row in rows if row["claim"] == "clip_fm_needs_fewer_samples"]
    assert [row["work"].partition(" ")[0] for row in speed] == ["Scale-RAE"] * 2


def test_no_verdict_depends_on_it(report: page.StudyReport, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = outside_evidence()
    turned = [
        each if each.first is None else each.model_copy(update={"first": each.second, "second": each.first})
        for each in evidence.comparisons
    ]
    other = Evidence(contrasts=evidence.contrasts, comparisons=tuple(turned))
    monkeypatch.setattr("unimm.report.study.outside.outside_evidence", lambda: other)
    again = page.build(report.study.path)
    assert again.tables["outside"].rows != report.tables["outside"].rows
    assert [answer.verdict for answer in again.answers] == [answer.verdict for answer in report.answers]
    none = other.model_copy(update={"comparisons": ()})
    monkeypatch.setattr("unimm.report.study.outside.outside_evidence", lambda: none)
    assert outside_table(report.study, report.answers) is None
