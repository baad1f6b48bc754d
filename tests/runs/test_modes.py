"""Everything that a run, a cache and an export write has the mode that the umask gives, whatever library wrote it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unimm.config import load
from unimm.export.export import export_run
from unimm.files import written
from unimm.runs import stages

ARM = Path(__file__).parents[2] / "ablations" / "vae_fm.yaml"


@pytest.fixture(params=[0o022, 0o002, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(*folders: Path) -> dict[str, int]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in files}


def test_what_a_library_writes_gets_the_umasks_mode(umask: int, tmp_path: Path) -> None:
    own = tmp_path / "own.safetensors"
    save_file({"a": torch.zeros(2)}, own)
    for path in (tmp_path / "new" / "a.safetensors", own):  # a new file, and one that its owner alone could read
        with written(path) as temporary:
            save_file({"a": torch.ones(2)}, temporary)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
        assert [other for other in path.parent.iterdir() if other.name.startswith(".")] == []


@pytest.mark.parametrize("umask", [0o002], ids=oct, indirect=True)  # no library writes 0664 by itself
def test_a_run_its_cache_and_its_export_are_as_readable_as_the_umask_says(
    umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    small = ["training.samples=64", "training.warmup_steps=1", "evaluation.prompts_per_task=2", "training.snapshots=2"]
    small += ["evaluation.reference_scenes=64", "evaluation.questions=4", "evaluation.metrics=[geneval]"]
    small += ["head.width=32", "head.layers=1", "head.heads=2"]
    stages.run(load(ARM, ["profile=tiny", *small]), tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "model")
    found = modes(tmp_path / "run", tmp_path / "cache", tmp_path / "model")
    assert {"weights.safetensors", "last.ckpt", "config.yaml", "metrics.jsonl", "result.json"} <= set(found)
    assert any(name.startswith("latents-") for name in found)
    assert set(found.values()) == {0o666 & ~umask}, {name: oct(mode) for name, mode in found.items()}
