"""Several ranks and micro-batches train what one process with the whole batch trains.

Sums over parts of a batch are taken in another order, and prompts are padded to the longest of a smaller batch, so
numbers agree to float32 rounding, which AdamW amplifies: `WEIGHTS` is a hundredth of what a weight moves here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks_worker import CPU, Case, trained
from safetensors.torch import load_file

from unimm.training.distributed import ALONE

ROOT = Path(__file__).parents[2]
WORKER = ROOT / "tests" / "ranks_worker.py"
WEIGHTS, LOSSES = 5e-5, 1e-5
JOINT = ["training.samples=96", "strategy.understanding_samples=50"]  # 8 or 9 questions a step
HALF = ["training.samples=48", "strategy.understanding_samples=25"]
CONTROL = ["strategy=understanding_only", *HALF]
FSDP2 = ["training.distributed=fsdp2"]
TWICE = ["training.gradient_accumulation_steps=2"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Everything that the tests compare: by one process, and by two ranks that one launch of torchrun starts."""
    patch, place = pytest.MonkeyPatch(), tmp_path_factory.mktemp("ranks")
    patch.setenv("UNIMM_CACHE", str(place / "cache"))

    def case(name: str, arm: str, overrides: list[str], resumes: str = "") -> Case:
        return Case(str(place / name), arm, overrides, str(place / resumes) if resumes else "")

    for alone in (
        case("one", "clip_fm_joint", JOINT),
        case("one-half", "clip_fm_joint", HALF),
        case("one-frozen", "clip_fm", ["training.samples=48"]),
        case("one-control", "clip_fm_joint", CONTROL),
        case("one-by-four", "clip_fm_joint", [*JOINT, "training.gradient_accumulation_steps=4"]),
    ):
        trained(alone, ALONE)
    together = [
        case("ddp", "clip_fm_joint", [*JOINT, *TWICE]),
        case("ddp-frozen", "clip_fm", ["training.samples=48"]),
        case("ddp-control", "clip_fm_joint", [*CONTROL, *TWICE]),
        case("ddp-resumed", "clip_fm_joint", JOINT, "one-half"),
        case("fsdp2-half", "clip_fm_joint", [*HALF, *FSDP2, *TWICE]),
        case("fsdp2-resumed", "clip_fm_joint", [*JOINT, *FSDP2], "one-half"),
        case("fsdp2-frozen", "clip_fm", ["training.samples=48", *FSDP2]),
    ]
    (place / "cases.json").write_text(json.dumps(together))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(WORKER)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(place / "cases.json"), str(place / "seen.json")], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    trained(case("fsdp2-then-one", "clip_fm_joint", JOINT, "fsdp2-half"), ALONE)
    yield place
    patch.undo()


def last_losses(out: Path) -> dict[str, float]:
    row: dict[str, Any] = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    return {key: value for key, value in row.items() if "loss" in key}


PAIRS = [
    ("one", "one-by-four"),
    ("one", "ddp"),
    ("one-control", "ddp-control"),
    ("one", "ddp-resumed"),
    ("one", "fsdp2-resumed"),
    ("one", "fsdp2-then-one"),
    ("one-half", "fsdp2-half"),
    ("one-frozen", "ddp-frozen"),
    ("one-frozen", "fsdp2-frozen"),
]


@pytest.mark.parametrize(("expected", "actual"), PAIRS)
def test_losses_weights_and_visits_are_those_of_one_process(folder: Path, expected: str, actual: str) -> None:
    first, second = folder / expected, folder / actual
    assert last_losses(second) == pytest.approx(last_losses(first), rel=LOSSES)
    weights, same = (load_file(out / "weights.safetensors") for out in (first, second))
    assert weights.keys() == same.keys()
    assert max(float((weights[name] - same[name]).abs().max()) for name in weights) < WEIGHTS
    card, again = (json.loads((out / "data_card.json").read_text()) for out in (first, second))
    assert card == again


def test_ranks_hold_the_same_weights_and_the_same_average(folder: Path) -> None:
    for ranks in json.loads((folder / "seen.json").read_text()):
        assert len(ranks) == 2
        assert ranks[0] == ranks[1]


def test_half_a_batch_trains_something_else(folder: Path) -> None:
    """The tolerance would notice."""
    weights, other = (load_file(folder / name / "weights.safetensors") for name in ("one", "one-half"))
    assert max(float((weights[name] - other[name]).abs().max()) for name in weights) > 20 * WEIGHTS


@pytest.mark.parametrize("name", ["one-frozen", "ddp-frozen", "fsdp2-frozen"])
def test_checkpoints_hold_what_trains(folder: Path, name: str) -> None:
    checkpoint = torch.load(folder / name / "last.ckpt", map_location=CPU, weights_only=True)
    trained_names = set(load_file(folder / name / "weights.safetensors"))
    assert trained_names <= set(checkpoint["state_dict"])
    assert not [key for key in checkpoint["state_dict"] if key.startswith("backbone.model.")]
    assert len(checkpoint["frozen"]) == 64


def test_a_checkpoint_beside_other_frozen_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    changed = torch.load(folder / "one-frozen" / "last.ckpt", map_location=CPU, weights_only=True)
    changed["frozen"] = "0" * 64
    (tmp_path / "changed").mkdir()
    torch.save(changed, tmp_path / "changed" / "last.ckpt")
    case = Case(str(tmp_path / "again"), "clip_fm", ["training.samples=96"], str(tmp_path / "changed"))
    with pytest.raises(ValueError, match="other frozen weights"):
        trained(case, ALONE)
