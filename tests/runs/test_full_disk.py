"""A full disk at every file that a run writes: one line that names the file, nothing damaged, and --resume goes on."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from unimm import files
from unimm.cli import app

ARM = str(Path(__file__).parents[2] / "ablations" / "vae_fm.yaml")
COMMAND = ["run", ARM, "profile=tiny", "training.samples=40", "training.batch_size=4", "evaluation.metrics=[geneval]"]
COMMAND += ["data.train_scenes=16", "head.width=16", "head.layers=1", "head.heads=2"]
COMMAND += ["evaluation.reference_scenes=6", "evaluation.questions=4"]
# What a run writes, with numbers and hashes left out.
WRITTEN = [
    "latents-#.safetensors",
    "prompts-#.safetensors",
    "config.yaml",
    "metrics.jsonl",
    "average-#.safetensors",
    "last.ckpt",
    "data_card.json",
    "weights.safetensors",
    "ceilings-#.json",
    "sheet.png",
    "grid.json",
    "images-#.webp",
    "images.json",
    "items.json",
    "result.json",
    "training.png",
    "curve.png",
    "report.md",
    "report.html",
]
EQUAL = ("weights.safetensors", "items.json", "samples/sheet.png", "samples/grid.json", "data_card.json")


def kind(path: Path) -> str:
    """The name of a file without what differs from run to run."""
    return re.sub(r"(average|latents|prompts|images|ceilings)-[0-9a-f]+", r"\1-#", path.name)


def invoke(out: Path, *options: str) -> tuple[int, list[str]]:
    """The command's exit code and its error lines; anything but an exit is raised."""
    result = CliRunner().invoke(app, [*COMMAND, "--out", str(out), *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, [line for line in result.stderr.splitlines() if line.startswith("error: ")]


class Whole(NamedTuple):
    """A run on a disk with room, and what it wrote, in the order in which it did so first."""

    run: Path
    written: list[str]

    def assert_equal(self, out: Path) -> None:
        for file in EQUAL:
            assert (out / file).read_bytes() == (self.run / file).read_bytes(), file


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    seen: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIMM_CACHE", str(folder / "cache"))
        real_replace, real_open = os.replace, Path.open

        def replaced(old: str, new: str) -> None:
            seen.append(kind(Path(new)))
            real_replace(old, new)

        def opened(path: Path, mode: str = "r", *more: object, **settings: object) -> object:
            if mode == "a" and path.name in WRITTEN:
                seen.append(path.name)
            return real_open(path, mode, *more, **settings)  # type: ignore[call-overload]

        patch.setattr(files.os, "replace", replaced)
        patch.setattr(Path, "open", opened)
        assert invoke(folder / "run") == (0, [])
    written = list(dict.fromkeys(seen))
    assert set(written) == set(WRITTEN)
    return Whole(folder / "run", written)


def left(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def invoke_without_room_for(name: str, out: Path, *options: str) -> None:
    """The command while the disk has no room for files of one kind: it names the file and leaves nothing of it."""
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.MonkeyPatch.context() as full:
        real_sync, real_open = os.fsync, Path.open

        def sync(descriptor: int) -> None:
            """Written data may find no room as late as here."""
            place = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if place.name.startswith(f".{name.split('#')[0]}") and place.name.endswith(".tmp"):
                raise error
            real_sync(descriptor)

        def opened(path: Path, mode: str = "r", *more: object, **settings: object) -> object:
            if path.name == name and mode == "a":
                raise error
            return real_open(path, mode, *more, **settings)  # type: ignore[call-overload]

        full.setattr(files.os, "fsync", sync)
        full.setattr(Path, "open", opened)
        code, lines = invoke(out, *options)
    assert code == 1 and len(lines) == 1, (name, code, lines)
    assert re.search(rf"cannot write \S*{name.replace('#', '.*')}: No space left on device; make room there", lines[0])
    assert not [path for path in left(out.parent) if path.name.endswith(".tmp")]
    assert name.startswith("metrics") or name not in map(kind, left(out.parent))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_finds_no_room_for_one_file_after_the_other_ends_like_another(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every start gets past the file that the one before had no room for, and stops at the next."""
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    for name in whole.written:
        invoke_without_room_for(name, tmp_path / "run", "--resume")
    assert invoke(tmp_path / "run", "--resume") == (0, [])
    whole.assert_equal(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.repeat
@pytest.mark.parametrize("name", WRITTEN)
def test_no_file_is_damaged_and_the_run_goes_on(
    name: str, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    invoke_without_room_for(name, tmp_path / "run")
    assert invoke(tmp_path / "run", "--resume") == (0, [])
    whole.assert_equal(tmp_path / "run")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, which the test may enlarge; skipped where one may not be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.slow
@pytest.mark.repeat
@pytest.mark.timeout(900)
def test_a_disk_that_grows_again_and_again_ends_in_the_same_run(
    whole: Whole, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(small_disk / "cache"))
    out, named = small_disk / "run", []
    needed = sum(path.stat().st_size for path in left(whole.run.parent)) // 1024
    for share in (0.002, 0.01, 0.1, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0, 1.05, 1.2, 3.0):  # a checkpoint stands twice
        size = int(share * needed) + 64
        subprocess.run(["mount", "-o", f"remount,size={size}k", small_disk], check=True)
        code, lines = invoke(out, "--resume")
        if code == 0:
            break
        assert code == 1 and len(lines) == 1 and "make room there and start again" in lines[0], lines
        named.append(lines[0].partition(": No space")[0].rpartition("/")[2])
        assert not [path for path in left(small_disk) if path.name.endswith(".tmp")]
    assert code == 0 and len(named) >= 3, named
    whole.assert_equal(out)


def test_what_a_library_says_of_a_full_disk_is_said_with_the_file(small_disk: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path = small_disk / "a.safetensors"
    with files.written(path) as temporary:
        save_file({"a": torch.zeros(10)}, temporary)
    before = path.read_bytes()
    message = rf"cannot write {path}: No space left on device; make room"
    with pytest.raises(files.WriteError, match=message) as error, files.written(path) as temporary:
        save_file({"a": torch.zeros(100_000)}, temporary)
    assert error.value.errno == errno.ENOSPC
    with pytest.raises(files.WriteError, match=message):
        files.write_atomic(path, b"x" * 400_000)
    assert path.read_bytes() == before and left(small_disk) == [path]
