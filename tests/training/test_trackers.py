"""Trackers hold what `metrics.jsonl` holds, read back with their own readers, also after a kill and a resume."""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from unimm.cli import app
from unimm.config import load
from unimm.schema import RunConfig
from unimm.training.callbacks import JsonLines
from unimm.training.trackers import TRACKERS, Tracker, chosen

ROOT = Path(__file__).parents[2]
ARM = ROOT / "ablations" / "clip_fm.yaml"
Curves = dict[str, dict[int, float]]


def curves_of(log: Path) -> Curves:
    """Name -> step -> value of a `metrics.jsonl`, in single precision."""
    found: Curves = {}
    for row in map(json.loads, log.read_text().splitlines()):
        for name, value in row.items():
            if name != "step":
                found.setdefault(name, {})[row["step"]] = float(np.float32(value))
    return found


def in_tensorboard(folder: Path) -> Curves:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def in_wandb(folder: Path) -> Curves:
    """The rows of the one offline run, which `wandb sync` would send."""
    protocol = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    (file,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    found: Curves = {}
    for data in records_of(file.read_bytes()):
        items = {}
        for item in protocol.Record.FromString(data).history.item:
            items["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        step = items.pop("trainer/global_step", None)
        for name, value in items.items():
            if not name.startswith("_"):
                found.setdefault(name, {})[step] = float(np.float32(value))
    return found


def records_of(data: bytes) -> Iterator[bytes]:
    """Records of a file in the format of LevelDB's log, which W&B writes after seven bytes of its own.

    Blocks of 32 kB hold pieces: a checksum of four bytes, a length of two, a kind of one (whole, first, middle, last).
    """
    block, place, record = 1 << 15, 7, b""
    while place + 7 <= len(data):
        if block - place % block < 7:
            place += block - place % block
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def run_id(folder: Path) -> str:
    return Noted(load(ARM, ["profile=tiny"]), folder).run_id


def in_trackio(folder: Path) -> Curves:
    storage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
    (run,) = [name for name in storage.get_runs("unimm") if name.endswith(run_id(folder))]
    found: Curves = {}
    for row in storage.get_logs("unimm", run):
        for name, value in row.items():
            if name not in ("step", "timestamp"):
                found.setdefault(name, {})[int(row["step"])] = float(np.float32(value))
    return found


READERS = {"tensorboard": in_tensorboard, "wandb": in_wandb, "trackio": in_trackio}


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return load(ARM, ["profile=tiny"])


@pytest.fixture(params=list(TRACKERS))
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tracker that is installed, with databases of the test's own."""
    chosen_name = str(request.param)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip(TRACKERS[chosen_name].package)
    return chosen_name


def test_a_tracker_equals_the_log_after_a_kill_and_a_resume(name: str, config: RunConfig, tmp_path: Path) -> None:
    """Killed after row 5 with a checkpoint at row 3: rows 4 and 5 are made again, and come out otherwise."""
    log = tmp_path / "metrics.jsonl"
    child = os.fork()
    if child == 0:
        killed = JsonLines(log, 16, every=1, trackers=[TRACKERS[name](config, tmp_path)])
        killed.on_train_start(trainer_at(0), module_with(0))
        for step in range(1, 6):
            killed._add(row(step, step / 3))
        time.sleep(1)
        os._exit(9)
    os.waitpid(child, 0)
    again = JsonLines(log, 16, every=1, trackers=[TRACKERS[name](config, tmp_path)])
    again.on_train_start(trainer_at(3), module_with(0))
    for step in range(4, 8):
        again._add(row(step, step / 7))
    again.on_train_end(trainer_at(7), module_with(0))
    expected = curves_of(log)
    assert list(expected["loss"]) == list(range(1, 8)) and expected["loss"][5] == pytest.approx(5 / 7)
    assert READERS[name](tmp_path) == expected


def row(step: int, loss: float) -> dict[str, Any]:
    held_out = {"validation_loss": loss, "validation_loss/0.25-0.50": loss} if step == 4 else {}
    return {"step": step, "samples": 16 * step, "seconds": 0.1 * step, "loss": loss} | held_out


def trainer_at(step: int) -> Any:
    return SimpleNamespace(global_step=step, strategy=SimpleNamespace(root_device=torch.device("cpu")))


def module_with(loss: float) -> Any:
    return SimpleNamespace(latest={"loss": loss})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["tensorbord"], "no tracker 'tensorbord'; did you mean 'tensorboard'\\?"),
        (["wandb"], "--track wandb needs a package: pip install 'unimm\\[wandb\\]'"),
    ],
)
def test_a_tracker_that_is_not_there_is_said(names: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=message):
        chosen(names)


class Noted(Tracker):
    """A tracker of the test's own, which needs no package."""

    package = "json"
    rows: list[dict[str, Any]]

    def begin(self, rows: Any) -> None:
        type(self).rows = list(rows)

    def add(self, row: Any) -> None:
        self.rows.append(row)

    def end(self) -> None:
        self.rows.append({"step": "end"})


@pytest.mark.slow
def test_training_with_and_without_trackers_is_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setitem(TRACKERS, "noted", Noted)
    installed = [name for name, kind in TRACKERS.items() if find_spec(kind.package)]
    settings = [str(ARM), "profile=tiny", "evaluation.metrics=[geneval]", "training.checkpoint_every_steps=1"]
    settings += ["training.samples=32", "data.train_scenes=16", "head.width=32", "head.layers=1", "head.heads=2"]
    for folder, options in (("plain", []), ("tracked", [word for name in installed for word in ("--track", name)])):
        done = CliRunner().invoke(app, ["run", *settings, "--out", str(tmp_path / folder), *options])
        assert done.exit_code == 0, done.output[-3000:]
    plain, tracked = (load_file(tmp_path / folder / "weights.safetensors") for folder in ("plain", "tracked"))
    assert all(torch.equal(plain[key], tracked[key]) for key in plain)
    log = curves_of(tmp_path / "tracked" / "metrics.jsonl")
    assert "validation_loss/0.75-1.00" in log
    assert [row["step"] for row in Noted.rows] == [*sorted(log["loss"]), "end"]
    for name in installed:
        if name in READERS:
            assert READERS[name](tmp_path / "tracked") == log
