"""A run that was lengthened, and one that was stopped and resumed, is the run that was as long from the beginning.

What is no longer run is refused.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import unimm
from unimm.cli import app
from unimm.config import dump, load, read
from unimm.registry import strategies
from unimm.runs.extend import lengthen
from unimm.runs.outcome import prepare
from unimm.scenes.world import world

ABLATIONS = Path(__file__).parents[2] / "ablations"
SHIPPED = Path(unimm.__file__).parent / "foundation" / "shipped" / "scenes-nano"
FOUNDATION = SimpleNamespace(card={"costs": {"understanding": {"samples": 1000}}}, world=world("scenes-nano"))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A finished joint run of 64 samples, four steps, with 64 questions."""
    (tmp_path / "config.yaml").write_text(dump(load(ABLATIONS / "clip_fm_joint.yaml", ["profile=tiny"])))
    for name in ("last.ckpt", "result.json"):
        (tmp_path / name).write_text("{}")
    return tmp_path


def run_with(folder: Path, *overrides: str) -> Any:
    config = load(ABLATIONS / "clip_fm_joint.yaml", ["profile=tiny", *overrides])
    mix = strategies.get("joint")(config.strategy.config).mix()
    arm = SimpleNamespace(foundation=FOUNDATION, backbone=SimpleNamespace(of_foundation=True))
    return SimpleNamespace(config=config, folder=folder, arm=arm, mix=mix)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.samples=64"], "has training.samples=64: give more, as in training.samples=128"),
        (["training.samples=128", "seed=1"], "seed is 0 there and 1 now"),
        (["training.samples=128"], "a longer run needs as many a step: set strategy.understanding_samples=128"),
        (["training.samples=128", "strategy.understanding_samples=200"], "strategy.understanding_samples=128"),
    ],
)
def test_what_is_not_a_longer_run_is_refused_and_the_record_stays(
    finished: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        lengthen(run_with(finished, *overrides))
    assert (finished / "result.json").exists()
    assert read(finished / "config.yaml").training.samples == 64


def test_a_run_whose_checkpoint_was_cleaned_away_cannot_go_on(finished: Path) -> None:
    (finished / "last.ckpt").unlink()
    longer = run_with(finished, "training.samples=128", "strategy.understanding_samples=128")
    with pytest.raises(ValueError, match=r"it has no last\.ckpt, which `unimm clean` deletes; --overwrite trains it"):
        lengthen(longer)
    with pytest.raises(FileExistsError, match=r"is finished, and has no last\.ckpt.*unimm score"):
        prepare(read(finished / "config.yaml"), finished, resume=True, overwrite=False)


def test_a_longer_run_is_unfinished_until_it_is_scored(finished: Path) -> None:
    lengthen(run_with(finished, "training.samples=128", "strategy.understanding_samples=128"))
    assert not (finished / "result.json").exists()
    assert read(finished / "config.yaml").training.samples == 128


def test_extending_needs_resume(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["run", str(ABLATIONS / "clip_fm.yaml"), "--extend", "--out", str(tmp_path)])
    assert refused.exit_code == 2 and "add --resume" in refused.stderr


RUN = ["run", str(ABLATIONS / "clip_fm_joint.yaml"), "profile=tiny", "evaluation.metrics=[geneval]"]
RUN += ["data.train_scenes=32", "head.width=32", "head.layers=1", "head.heads=2"]
HALF = [*RUN, "training.samples=32", "strategy.understanding_samples=32"]
WHOLE = [*RUN, "training.samples=64", "strategy.understanding_samples=64"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Runs of half the length and of the whole one, in `half` and `straight`."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIMM_CACHE", str(folder / "cache"))
        patch.setattr("unimm.runs.scoring.vary", lambda *_: pytest.fail("no metric asks for varied images"))
        for out, arguments in (("half", HALF), ("straight", WHOLE)):
            here(*arguments, "--out", str(folder / out))
        yield folder


def here(*arguments: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output[-3000:]


def assert_equal_weights(run: Path, straight: Path) -> None:
    weights, expected = (load_file(folder / "weights.safetensors") for folder in (run, straight))
    assert weights.keys() == expected.keys() and all(torch.equal(weights[key], expected[key]) for key in weights)


@pytest.mark.slow
def test_a_lengthened_run_equals_a_straight_one_bit_by_bit(place: Path) -> None:
    grown, straight = place / "grown", place / "straight"
    shutil.copytree(place / "half", grown)
    here(*WHOLE, "--resume", "--extend", "--out", str(grown))
    assert_equal_weights(grown, straight)
    results = [json.loads((out / "result.json").read_text()) for out in (grown, straight)]
    assert results[0]["counts"] == results[1]["counts"] and results[0]["data"] == results[1]["data"]
    assert [score["value"] for score in results[0]["scores"]] == [score["value"] for score in results[1]["scores"]]
    assert [point["step"] for point in results[0]["curve"]][-1] == 4


@pytest.mark.slow
def test_a_resumed_run_equals_a_straight_one_bit_by_bit(place: Path) -> None:
    """In a process of its own: nothing but the files tells it how far the other one came."""
    resumed, straight = place / "resumed", place / "straight"
    resumed.mkdir()
    shutil.copy(straight / "config.yaml", resumed)
    shutil.copy(place / "half" / "last.ckpt", resumed)
    env = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "unimm", *WHOLE, "--resume", "--out", str(resumed)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_equal_weights(resumed, straight)


@pytest.mark.slow
def test_questions_that_open_with_lists_train_and_cannot_be_lengthened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    foundation, out = tmp_path / "by_answer", tmp_path / "run"
    shutil.copytree(SHIPPED, foundation)
    card = json.loads((foundation / "card.json").read_text())
    (foundation / "card.json").write_text(json.dumps({**card, "questions": "by_answer"}))
    here(*HALF, f"foundation={foundation}", "--out", str(out))
    longer = CliRunner().invoke(app, [*WHOLE, f"foundation={foundation}", "--resume", "--extend", "--out", str(out)])
    assert longer.exit_code != 0 and "open with lists, three tenths of them" in longer.stderr
    assert (out / "result.json").exists()
