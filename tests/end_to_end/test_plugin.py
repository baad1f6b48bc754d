"""A component from another package, found by its entry point, goes through the real command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "tests" / "plugin_package"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The plug-in as installed: its source on the path, beside the metadata that an installer would write."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    site = tmp_path_factory.mktemp("site")
    info = site / f"unimm_pixels-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {target}" for name, target in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    path = os.pathsep.join(filter(None, [str(PLUGIN / "src"), str(site), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "UNIMM_CACHE": str(site / "cache"), "OMP_NUM_THREADS": "1"}


def unimm(*arguments: str, env: dict[str, str]) -> str:
    command = [sys.executable, "-m", "unimm", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_plugin_is_listed(environment: dict[str, str]) -> None:
    assert "coarse_pixels" in unimm("list", "encoders", env=environment)
    assert "roughness" in unimm("list", "metrics", env=environment)


def test_an_arm_with_the_plugin_trains_samples_scores_and_has_a_page(
    environment: dict[str, str], tmp_path: Path
) -> None:
    arguments = ["run", "ablations/vae_fm.yaml", "encoder=coarse_pixels", "encoder.patch=2", "profile=tiny"]
    arguments += ["evaluation.metrics=[geneval,{name:roughness,apart:2}]", "training.snapshots=0"]
    arguments += ["data.train_scenes=16", "head.width=16", "head.layers=1", "head.heads=2"]
    unimm(*arguments, "--out", str(tmp_path / "run"), env=environment)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["config"]["encoder"] == {"name": "coarse_pixels", "patch": 2}
    assert "geneval/overall" in result["ceilings"]["decoder"]
    assert result["config"]["evaluation"]["metrics"] == ["geneval", {"name": "roughness", "apart": 2}]
    assert next(score for score in result["scores"] if score["name"] == "roughness")["protocol"] == {"apart": 2}
    page = tmp_path / "run" / "report.md"
    page.unlink()
    unimm("report", str(page.parent), env={**environment, "PYTHONPATH": os.environ.get("PYTHONPATH", "")})
    said = "Coarse pixels are predicted with flow matching, and the backbone stays frozen."
    assert page.read_text().count(said) == 1, "it is in words that the encoder gave to the run"
    assert page.read_text().startswith("# How good are images when coarse pixels are predicted with flow")
    named = "| Texture (in levels of 255) | roughness of rows (lower is better) |"
    assert named in page.read_text(), "a page needs no plug-in"
