"""A foundation from nothing, at a size that trains in seconds: every part, its card, and an arm that starts from it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unimm.config import load, read
from unimm.encoders.clip import Clip
from unimm.files import write_json
from unimm.foundation.card import find
from unimm.foundation.folder import Foundation
from unimm.pretraining import build
from unimm.pretraining.sizes import JUDGES, PARTS, SIZES
from unimm.report.study import folder as folder_of_study
from unimm.report.study.evidence import guards
from unimm.runs import job
from unimm.study.collect import collect
from unimm.study.launch import freeze_study
from unimm.study.layout import config_file, unit_folder

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
    monkeypatch.setattr(build, "build", lambda profile, out, draw: calls.append((profile, out.name, draw)))
    build.obtain("scenes-small")
    build.obtain("scenes-nano-2-draw3")
    assert calls == [("small", "scenes-small", 0), ("nano-2", "scenes-nano-2-draw3", 3)]
    build.obtain("scenes-nano")
    build.obtain("nano")
    build.obtain("elsewhere")
    assert len(calls) == 2
    with pytest.raises(ValueError, match="unimm foundation build"):
        find("elsewhere")


def test_unknown_profiles_and_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="known: tiny, nano, nano-2, small"):
        build.build("huge", tmp_path)
    with pytest.raises(ValueError, match="unknown foundation part 'vea'"):
        build.build("tiny", tmp_path, ("vea",))
    with pytest.raises(ValueError, match="draw 1: tiny has one draw, as others would be judged by other models"):
        build.build("tiny", tmp_path, draw=1)
    with pytest.raises(ValueError, match="unknown foundation part 'features'; parts: language, decoder_noised"):
        build.build("nano-2", tmp_path, ("features",))


@pytest.fixture(scope="module")
def second(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with two draws of a second edition of the tiny foundation."""
    sizes = replace(SIZES["tiny"], base=str(folder), questions="by_answer")
    sizes = replace(sizes, steps={**sizes.steps, "decoder_noised": 2})
    out = tmp_path_factory.mktemp("second")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny-2", sizes)
        for draw, name in enumerate(("first", "other")):
            build.build("tiny-2", out / name, device=torch.device("cpu"), draw=draw)
    return out


def test_a_second_edition_has_parts_of_the_first_and_its_own(folder: Path, second: Path) -> None:
    first, base = Foundation(str(second / "first")), Foundation(str(folder))
    assert {path.name for path in first.folder.iterdir()} == {
        "language",
        "understanding",
        "decoder_noised",
        "card.json",
    }
    for part in ("clip", "vae", "decoder", "evaluator_0", "evaluator_1", "features"):
        assert first.fingerprint(part) == base.fingerprint(part) and first.path(part) == folder / part
    assert first.fingerprint("language") != base.fingerprint("language")
    assert first.world.questions == "by_answer" and base.world.questions == "by_scene"
    assert set(first.card["costs"]) == {*PARTS, "decoder_noised"}
    encoder = Clip.build(Clip.Config(decoder="noised"), first)
    noised, clean = encoder.decoder(first, 1), Clip.build(Clip.Config(), first).decoder(first, 1)
    assert noised.settings() == clean.settings()
    assert any(not torch.equal(a, b) for a, b in zip(noised.parameters(), clean.parameters(), strict=True))
    with pytest.raises(ValueError, match="no folder noised, and no decoder of this foundation"):
        encoder.decoder(base, 1)


def test_another_draw_has_other_parts_and_the_same_judges(folder: Path, second: Path) -> None:
    first, other = (Foundation(str(second / name)) for name in ("first", "other"))
    assert other.card["draw"] == 1 and first.card["draw"] == 0
    same = {part for part in first.card["costs"] if first.fingerprint(part) == other.fingerprint(part)}
    assert same == set(JUDGES)
    weights = [each.weights("clip/open_clip_model.safetensors")["visual.class_embedding"] for each in (first, other)]
    assert not torch.equal(*weights)


def test_a_run_on_a_draw_names_its_own_parts(second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    settings = ["profile=tiny", f"foundation={second / 'other'}", "encoder.decoder=noised", "training.snapshots=0"]
    settings += ["evaluation.metrics=[geneval]", "head.width=32", "head.layers=1", "head.heads=2"]
    config = load(ROOT / "ablations/clip_fm_joint.yaml", settings)
    result = job.run(config, tmp_path / "run")
    assert result.hashes["clip"] == Foundation(str(second / "other")).fingerprint("clip")


def test_seeds_of_a_study_run_on_the_draws_that_they_are_dealt(
    second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    holds = {"id": "c", "text": "It holds.", "kind": "invariant", "holds": {"backbone_unchanged": ["clip_mse"]}}
    write_json(tmp_path / "claims.yaml", {"alpha": 0.05, "claims": [holds]})
    draws = [str(second / name) for name in ("first", "other")]
    study = {"question": "Which?", "profile": "tiny", "seeds": 2, "foundations": draws, "claims": "claims.yaml"}
    write_json(tmp_path / "dealt.yaml", study | {"arms": [str(ROOT / "ablations/clip_mse.yaml")]})
    plan = freeze_study(tmp_path / "dealt.yaml", tmp_path / "study")
    for run, draw in zip(plan.units, draws, strict=True):
        result = job.run(read(config_file(tmp_path / "study", run)), unit_folder(tmp_path / "study", run))
        assert result.hashes["clip"] == Foundation(draw).fingerprint("clip")
    assert len(list((tmp_path / "cache").glob("ceilings-*.json"))) == 2, "every draw has its own"
    assert collect(tmp_path / "study", plan, tmp_path / "reports") == 2
    found = folder_of_study.read(tmp_path / "reports")
    assert not found.missing and [*found.draws("clip_mse")] == draws
    assert guards(found)["same_foundation"](found.plan.claims.claims[0]) is None


def test_a_missing_file_of_the_base_is_named(second: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(second / "first", alone)
    card = json.loads((alone / "card.json").read_text())
    (alone / "card.json").write_text(json.dumps(card | {"base": str(tmp_path / "gone")}))
    with pytest.raises(ValueError, match=r"no foundation .*gone"):
        Foundation(str(alone))


def test_what_a_draw_takes_is_said_by_what_the_first_one_took(second: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = json.loads((second / "first" / "card.json").read_text())["costs"]
    own = sum(cost["seconds"] for part, cost in costs.items() if part not in JUDGES)
    monkeypatch.setitem(SIZES, "tiny-2", replace(SIZES["tiny"], base="scenes-nano"))
    monkeypatch.setattr(build, "find", lambda name: second / "first")
    monkeypatch.setattr(build, "is_there", lambda name: name == "scenes-tiny-2")
    assert build.expected_hours("tiny-2", 1) == pytest.approx(own / 3600)
    assert build.expected_hours("tiny-2", 0) < own / 3600
    assert build.expected_hours("tiny", 0) == 0
