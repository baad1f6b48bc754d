"""`unimm clean` takes what can be done without, shows it first, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from unimm import doctor
from unimm.cleaning import DAY
from unimm.cli import app

runner = CliRunner()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A finished run, one that still trains, and what they leave."""
    for run, files in {
        "done": ("result.json", "last.ckpt", "weights.safetensors", "averages/average-8.safetensors", ".x.npz.tmp"),
        "at_work": ("last.ckpt", "metrics.jsonl"),
    }.items():
        for name in files:
            path = tmp_path / "study" / run / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(2**20))
    os.utime(tmp_path / "study/done/.x.npz.tmp", (0, time.time() - 2 * DAY))
    return tmp_path / "study"


def left(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_finished_runs_lose_their_checkpoints_and_broken_writes_alone(study: Path) -> None:
    before = left(study)
    done = runner.invoke(app, ["clean", str(study), "--yes"])
    assert done.exit_code == 0, done.output
    assert before - left(study) == {"done/last.ckpt", "done/.x.npz.tmp"}
    assert "2.0 MiB  in all" in done.stdout


def test_an_unfinished_run_is_left_and_its_command_named(study: Path) -> None:
    run = study / "at_work"
    (run / "config.yaml").write_text("name: a\n")
    before = left(study)
    said = runner.invoke(app, ["clean", str(run), "--yes"])
    assert said.exit_code == 2 and left(study) == before
    assert f"Go on with it: `unimm run {run}/config.yaml --out {run} --resume`; or delete" in said.output


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_nothing_goes_without_a_yes(study: Path, answer: str) -> None:
    before = left(study)
    shown = runner.invoke(app, ["clean", str(study)], input=answer)
    assert "1.0 MiB  " in shown.stdout and "last.ckpt" in shown.stdout
    assert left(study) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give folders of runs or studies"),
        (["{d}/absent"], "no folder"),
        (["{d}/study/at_work"], "holds no finished run"),
    ],
)
def test_mistakes_are_said(study: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    refused = runner.invoke(app, ["clean", *(word.replace("{d}", str(tmp_path)) for word in arguments)])
    assert refused.exit_code == 2 and message in refused.stderr


def test_the_cache_loses_what_is_computed_again_and_the_doctor_shows_its_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path))
    for name in ("latents-a.safetensors", "compiled/x/kernel.so", "foundations/own/card.json", "inception/net.pt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(2**20))
    told = [value for name, value in doctor.report() if name == "unimm cache"]
    assert str(tmp_path) in told[0]
    assert told[1:] == [
        "1.0 MiB of latents",
        "1.0 MiB of compiled kernels",
        "1.0 MiB of foundations built here",
        "1.0 MiB of the FID's network",
    ]
    done = runner.invoke(app, ["clean", "--cache", "--yes"])
    assert done.exit_code == 0, done.output
    assert left(tmp_path) == {"foundations/own/card.json", "inception/net.pt"}
