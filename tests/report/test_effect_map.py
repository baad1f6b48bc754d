"""The map of a study: each question's effect by circumstance, whole or as far as the runs have come."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from synthetic_study import ARMS, CLAIMS, freeze, write_study

from unimm.analysis.claims import Claims, WithContrast, read_claims
from unimm.report.study import page
from unimm.report.study.effect_map import map_figure, seed_effects
from unimm.report.study.evidence import evidence
from unimm.report.study.folder import read

MAP: dict[str, Any] = {
    "rows": ["flow matching over regression", "CLIP over VAE"],
    "paper": ["fm_over_mse_alignment", "clip_over_vae_alignment"],
    "axes": {
        "score": {
            "whole prompts": ["fm_over_mse_alignment", "clip_over_vae_alignment"],
            "single facts": ["fm_over_mse_atoms", "clip_over_vae_atoms"],
        },
        "what varies": {"places": ["fm_over_mse_diversity", None]},
    },
}


def with_map(folder: Path, **settings: Any) -> Path:
    write_study(folder, **settings)
    plan = json.loads((folder / "plan.json").read_text())
    plan["claims"]["map"] = MAP
    return freeze(folder, plan)


def shown(folder: Path) -> str:
    found = page.draw(page.build(folder), ("map",))
    return found["map"].svg.decode()


def test_the_page_opens_with_the_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "FIGURES", ("map",))
    monkeypatch.setattr(page, "write_cards", lambda *_: None)
    html = page.write(with_map(tmp_path)).read_text()
    text = (tmp_path / "report.md").read_text()
    for whole in (html, text):
        assert 0 < whole.index("above the line is what the paper says") < whole.index("What this does not show")
    assert (tmp_path / "figures" / "map.png").is_file()


def test_a_study_without_a_map_has_none(tmp_path: Path) -> None:
    report = page.build(write_study(tmp_path, seeds=(0,)))
    assert map_figure(report.study, report.answers) is None


def test_a_study_that_has_just_begun_or_stopped_halfway_has_a_map(tmp_path: Path) -> None:
    """No run at all, and one arm that lacks a seed: no verdict for its claims, and dots of the others' seeds."""
    everything = [(arm, seed) for arm in ARMS for seed in (0, 1, 2)]
    for name in ("empty", "half"):
        (tmp_path / name).mkdir()
    empty = shown(with_map(tmp_path / "empty", missing=everything))
    half = shown(with_map(tmp_path / "half", missing=[("clip_mse", 2)]))
    assert empty != half
    study = read(tmp_path / "half")
    claim = next(claim for claim in study.plan.claims.claims if claim.id == "fm_over_mse_alignment")
    assert isinstance(claim, WithContrast)
    effects = seed_effects(study, claim)
    values = {arm: study.values(arm, claim.metric) for arm in ("clip_fm", "clip_mse")}
    np.testing.assert_allclose(effects, values["clip_fm"][:2] - values["clip_mse"])
    assert len(effects) == 2 and effects.mean() == pytest.approx(0.24, abs=0.06)
    assert evidence(study).unfinished == {"clip_mse": 1}


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ({"paper": ["fm_over_mse_alignment"]}, "paper has 1 entries for 2 rows"),
        ({"paper": ["clip_over_vae_alignment", None]}, "is no cell of the row 'flow matching over regression'"),
        (
            {"axes": {"score": {"all": ["fm_over_mse_alignment", "nothing"]}}, "paper": [None, None]},
            "no claim 'nothing'",
        ),
        ({"axes": {"cost": {"all": ["clip_fm_needs_fewer_samples", None]}}, "paper": [None, None]}, "has no contrast"),
    ],
)
def test_mistakes_in_a_map_are_told(change: dict[str, Any], fragment: str, tmp_path: Path) -> None:
    import yaml

    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(CLAIMS.read_text()) | {"map": MAP | change}))
    with pytest.raises(ValueError, match=fragment):
        read_claims(path)


def test_the_shipped_map_names_every_primary_claim_but_interactions() -> None:
    claims = read_claims(CLAIMS.parent / "flip_map_claims.yaml")
    assert isinstance(claims, Claims) and claims.map is not None
    primary = {claim.id for claim in claims.claims if getattr(claim, "role", "") == "primary"}
    assert primary - set(claims.map.references()) == {"clip_ahead_by_more_under_regression"}
    assert len(claims.map.rows) == 3 and None not in claims.map.paper
