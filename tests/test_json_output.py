"""With `--json` a verb prints one JSON value and nothing else on stdout, with the numbers that its text has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image
from typer.testing import CliRunner

from unimm import __version__
from unimm.cli import app
from unimm.foundation.folder import Foundation
from unimm.registry import objectives
from unimm.runs.ceilings import real_scenes, rendered
from unimm.scenes.prompts import prompt_set

ROOT = Path(__file__).parents[1]
ABLATIONS = ROOT / "ablations"
ARM, STUDY = str(ABLATIONS / "vae_fm.yaml"), str(ABLATIONS / "studies" / "as_published.yaml")
runner = CliRunner()


def answer(*arguments: str, exit_code: int = 0) -> Any:
    result = runner.invoke(app, [*arguments, "--json"])
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def text(*arguments: str) -> str:
    result = runner.invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_version_is_printed() -> None:
    assert text("--version") == f"unimm {__version__}\n"


def test_lists_and_the_settings_of_one_component() -> None:
    assert [row["name"] for row in answer("list", "objectives")] == objectives.names()
    scores = {row["name"]: row["better"] for row in answer("list", "scores")}
    assert scores["frechet_distance"] == "lower" and scores["atoms/shape"] == "higher"
    tower = {setting["name"]: setting for setting in answer("list", "encoders", "open_clip")["settings"]}
    assert tower["pretrained"]["required"] and (tower["grid"]["default"], tower["grid"]["bounds"]) == (8, ">= 1")
    shown = text("list", "encoders", "open_clip")
    assert "grid: int | None, >= 1 (default 8)" in shown and "pretrained: str, length >= 1 (required)" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "nothing to set" in text("list", "objectives", "mse")
    assert "scores have no settings" in runner.invoke(app, ["list", "scores", "fid"]).stderr


def test_checked_files(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: a\nname: b\n")
    good, wrong = answer("check", ARM, str(bad), exit_code=2)
    assert (good["ok"], good["name"], good["steps"], good["error"]) == (True, "vae_fm", 2000, None)
    assert (wrong["ok"], wrong["name"]) == (False, None) and "given twice" in wrong["error"]


def test_the_machine() -> None:
    found = {row["name"]: row["value"] for row in answer("doctor")}
    assert found["unimm"] == __version__ and "cores" in found


def test_the_state_of_a_study() -> None:
    found = answer("study", "status", str(ROOT / "reports" / "design_choices"))
    assert (found["name"], found["totals"], len(found["runs"])) == ("design_choices", {"done": 24}, 24)
    assert {run["seed"] for run in found["runs"]} == {0, 1, 2} and all(run["trained"] == 1 for run in found["runs"])


def test_what_a_study_can_find() -> None:
    found = answer("study", "power", STUDY, "--seeds", "5")
    lines = text("study", "power", STUDY, "--seeds", "5").splitlines()[2:-1]
    assert found["seeds"] == 5 and [claim["claim"] for claim in found["claims"]] == [line.split()[0] for line in lines]
    first = found["claims"][0]
    assert f"±{first['half_width']:.2f}" in lines[0] and f"{first['detectable']:.2f}" in lines[0]


def test_what_a_data_set_holds(tmp_path: Path) -> None:
    folder = str(tmp_path / "set")
    text("data", "pack", "--scenes", "scenes-nano", "--count", "6", folder)
    found = answer("data", "inspect", folder)
    assert (found["samples"], found["usable"], found["formats"]) == (6, 6, {"PNG": 6})
    assert answer("data", "audit", folder)["samples"] == 6


def test_scores_of_images(tmp_path: Path) -> None:
    world = Foundation("scenes-nano").world
    prompts = prompt_set(world, "test", 1)
    for number, image in enumerate(rendered(real_scenes(prompts, world), 64)):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{number:05}.png")
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    given = ["score", str(tmp_path), "--prompts", str(file), "--metrics", "geneval"]
    found = answer(*given, "--out", str(tmp_path / "scores.json"))
    assert {row["name"]: row["value"] for row in found}["geneval/overall"] == 1
    assert found == json.loads((tmp_path / "scores.json").read_text())
    detector = ["--detector", "scenes world=scenes-nano", "--geneval-results", str(tmp_path / "results.jsonl")]
    runner.invoke(app, [*given[:4], *detector])
    summary = answer("score", str(tmp_path / "results.jsonl"))
    assert (summary["images"], summary["overall"]) == (6, 1)
