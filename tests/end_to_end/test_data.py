"""Five hundred images in tars: packed, damaged, trained on, killed and resumed, through the real command line."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from unimm.cli import app
from unimm.runs.record import Result

ROOT = Path(__file__).parents[2]
COUNT, BATCH = 500, 10
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def tiny_image() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    return stream.getvalue()


# Ten of a kind, in the second tar.
SHARD = COUNT // 2
BAD = {SHARD + 20 * n + kind: reason for kind, reason in enumerate(("broken", "tiny", "no_caption")) for n in range(10)}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIMM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def unimm(*arguments: str | Path) -> None:
    """A command in the tests' own process, where nothing is imported again; the run that is killed has its own."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output[-3000:]


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed set in which some samples are damaged afterwards."""
    folder = tmp_path_factory.mktemp("data") / "tars"
    sizes = ["--count", str(COUNT), "--shard-size", str(SHARD)]
    unimm("data", "pack", "--scenes", "scenes-nano", *sizes, folder)
    with tarfile.open(folder / "00001.tar") as archive:
        members = {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]
    for number, reason in BAD.items():
        image, text, record = (f"{number:08d}.{suffix}" for suffix in ("png", "txt", "json"))
        if reason == "broken":
            members[image] = members[image][:60]
        elif reason == "tiny":
            members[image] = tiny_image()
        else:
            members[text], members[record] = b"", b"{}"
    with tarfile.open(folder / "00001.tar", "w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    unimm("data", "index", folder)
    return folder


def run_arguments(tars: Path, out: Path) -> list[str | Path]:
    """One epoch at tiny size, every image encoded when it is visited."""
    settings = (
        "profile=tiny",
        f"training.samples={COUNT}",
        f"training.batch_size={BATCH}",
        "training.checkpoint_every_steps=8",
        "head.width=64",
        "head.layers=1",
        "head.heads=2",
        "training.snapshots=0",
        "evaluation.metrics=[geneval]",
        "source=shards",
        f"source.path={tars}",
        "source.latents=encode",
        "evaluation.prompts=scenes",
        "evaluation.reference=scenes",
    )
    return ["run", ROOT / "ablations/clip_fm.yaml", *settings, "--out", out]


def steps_logged(out: Path) -> int:
    path = out / "metrics.jsonl"
    return path.read_text().count("\n") * 10 if path.exists() else 0


def losses(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_a_killed_run_on_tars_resumes_on_the_same_sample(tars: Path, tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    unimm(*run_arguments(tars, straight))

    process = subprocess.Popen(
        [sys.executable, "-m", "unimm", *map(str, run_arguments(tars, killed))],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while steps_logged(killed) < 20 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 20 <= steps_logged(killed) < COUNT // BATCH, "killed in the middle"
    assert not (killed / "data_card.json").exists()
    unimm(*run_arguments(tars, killed), "--resume")

    first, second = (json.loads((out / "data_card.json").read_text()) for out in (straight, killed))
    assert first["visits"]["digest"] == second["visits"]["digest"]
    assert first == second
    assert losses(straight) == losses(killed)
    expected, actual = (load_file(out / "weights.safetensors") for out in (straight, killed))
    assert all(bool((expected[name] == actual[name]).all()) for name in expected)

    assert first["visits"]["positions"] == COUNT
    assert first["unusable"]["by_reason"] == {"broken": 10, "tiny": 10, "no_caption": 10}
    named = {int(row["sample"].rpartition("/")[2]): row["reason"] for row in first["unusable"]["samples"]}
    assert named == BAD
    assert first["replaced"]["count"] == len(first["replaced"]["positions"]) == 30, "one epoch meets each of them once"
    assert first["parts"][0]["samples"] == COUNT
    data = Result.model_validate(json.loads((killed / "result.json").read_text())).data
    assert data is not None
    assert (data.digest, data.unusable, data.replaced) == (first["visits"]["digest"], 30, 30)
