"""A foundation from nothing, at a size that trains in seconds: every part, its card, and an arm that starts from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from unimm.config import load
from unimm.foundation.card import find
from unimm.foundation.folder import Foundation
from unimm.pretraining import build
from unimm.pretraining.sizes import PARTS, SIZES
from unimm.runs import job

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("foundations") / "scenes-tiny"
    build.build("tiny", out, device=torch.device("cpu"))
    return out


def test_card_names_every_part_and_every_file(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    assert set(card["costs"]) == set(PARTS)
    assert all(cost["steps"] == SIZES["tiny"].steps[part] for part, cost in card["costs"].items())
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {"card.json"}
    assert set(card["files"]) == files


def test_an_arm_runs_on_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    config = load(ROOT / "ablations/clip_fm.yaml", ["profile=tiny", f"foundation={folder}"])
    result = job.run(config, tmp_path / "run")
    assert result.invariants.backbone_unchanged is True
    assert [point.samples for point in result.curve] == [48, 64]


def test_an_altered_file_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name in ("card.json", *json.loads((folder / "card.json").read_text())["files"]):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((folder / name).read_bytes())
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match="truncated or altered"):
        Foundation(str(copy))


def test_missing_foundation_of_a_profile_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path))
    calls = []
    monkeypatch.setattr(build, "build", lambda profile, out: calls.append((profile, out)))
    build.obtain("scenes-small")
    assert calls == [("small", tmp_path / "foundations" / "scenes-small")]
    build.obtain("scenes-nano")
    build.obtain("elsewhere")
    assert len(calls) == 1
    with pytest.raises(ValueError, match="unimm foundation build"):
        find("elsewhere")


def test_unknown_profiles_and_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="known: tiny, nano, small"):
        build.build("huge", tmp_path)
    with pytest.raises(ValueError, match="unknown foundation part 'vea'"):
        build.build("tiny", tmp_path, ("vea",))
