"""Files that were edited under what was computed from them: latents, statistics, indices; copies change nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unimm.data.cache import cached_latents
from unimm.data.content import Content
from unimm.data.folder import Folder
from unimm.data.mixture import Mixture
from unimm.data.scenes import Scenes
from unimm.data.shards import Shards
from unimm.data.source import IndexedSource
from unimm.data.tar_index import FILE, TarIndex, build_index, load_index
from unimm.encoders.calibrated import CalibratedEncoder, CalibrationImages, calibrate

from .conftest import CONTEXT, encoded, write_tar
from .test_latents import Pooled

CPU = torch.device("cpu")
COUNT, SIZE = 6, 10_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(number: int) -> bytes:
    """A PNG of ``SIZE`` bytes: what follows its end is not read."""
    return encoded(5 * number).ljust(SIZE, b"\0")


def write_tars(folder: Path, pictures: list[bytes], captions: list[str]) -> None:
    for shard in range(2):
        members: dict[str, bytes] = {}
        for number in range(shard * 3, shard * 3 + 3):
            members |= {f"{number}.png": pictures[number], f"{number}.txt": captions[number].encode()}
        write_tar(folder / f"{shard}.tar", members)


def write_folder(folder: Path, pictures: list[bytes], captions: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(pictures):
        (folder / f"{number}.png").write_bytes(data)
    rows = [json.dumps({"file": f"{number}.png", "caption": text}) for number, text in enumerate(captions)]
    (folder / "list.jsonl").write_text("\n".join(rows))


def write_dataset(folder: Path, pictures: list[bytes], captions: list[str]) -> None:
    """Under the state of the first writing, as an editor of the Arrow files would leave it."""
    datasets = pytest.importorskip("datasets")
    rows = {"image": [{"bytes": data, "path": None} for data in pictures], "caption": captions}
    made = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    state = (folder / "state.json").read_bytes() if folder.exists() else None
    made.save_to_disk(str(folder.with_suffix(".new")))
    shutil.copytree(folder.with_suffix(".new"), folder, dirs_exist_ok=True)
    if state is not None:
        (folder / "state.json").write_bytes(state)


def open_tars(folder: Path) -> Shards:
    return Shards.build(Shards.Config(path=str(folder)), CONTEXT)


def open_folder(folder: Path) -> Folder:
    return Folder.build(Folder.Config(path=str(folder)), CONTEXT)


def open_dataset(folder: Path) -> IndexedSource:
    from unimm.data.hf_disk import HfDisk

    return HfDisk.build(HfDisk.Config(path=str(folder)), CONTEXT)


def open_mixture(folder: Path) -> Mixture:
    return Mixture([open_tars(folder), Scenes.build(Scenes.Config(), CONTEXT)], [1, 1])


Write = Callable[[Path, list[bytes], list[str]], None]
Open = Callable[[Path], IndexedSource]
KINDS: list[tuple[Write, Open]] = [
    (write_tars, open_tars),
    (write_folder, open_folder),
    (write_dataset, open_dataset),
    (write_tars, open_mixture),
]
kinds = pytest.mark.parametrize(("write", "open_"), KINDS, ids=["shards", "folder", "hf_disk", "mixture"])
PICTURES = [picture(number) for number in range(COUNT)]
CAPTIONS = [f"caption {number}" for number in range(COUNT)]
EDITED = [*PICTURES[:4], picture(99), PICTURES[5]]


@pytest.fixture
def never_read_again(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def forbid() -> None:
        def fail(*_: object) -> str:
            raise AssertionError("files were read though nothing was written")

        monkeypatch.setattr(IndexedSource, "content_of", fail)

    return forbid


@kinds
def test_latents_of_a_picture_edited_in_place_are_made_anew(
    tmp_path: Path, write: Write, open_: Open, never_read_again: Callable[[], None]
) -> None:
    """With equal sizes throughout: the name does not change, the content does."""
    folder, encoder = tmp_path / "set", Pooled()
    write(folder, PICTURES, CAPTIONS)
    before = open_(folder)
    old = cached_latents(encoder, before, CPU)
    write(folder, EDITED, CAPTIONS)
    after = open_(folder)
    assert after.name == before.name
    new = cached_latents(encoder, after, CPU)
    assert new.content != old.content
    assert torch.equal(new.values, torch.cat([encoder.encode(images) for images in after.batches(4)]))
    assert (new.values != old.values).flatten(1).any(1).nonzero().flatten().tolist() == [4]
    never_read_again()
    seen = encoder.images
    assert cached_latents(encoder, open_(folder), CPU).content == new.content
    assert encoder.images == seen


@kinds
def test_latents_of_copied_files_are_kept(
    tmp_path: Path, write: Write, open_: Open, never_read_again: Callable[[], None]
) -> None:
    folder, encoder = tmp_path / "set", Pooled()
    write(folder, PICTURES, CAPTIONS)
    old, seen = cached_latents(encoder, open_(folder), CPU), encoder.images
    write(folder, PICTURES, CAPTIONS)
    new = cached_latents(encoder, open_(folder), CPU)
    assert encoder.images == seen
    assert new.content.digest == old.content.digest
    assert new.content.stamp != old.content.stamp
    never_read_again()
    assert cached_latents(encoder, open_(folder), CPU).content == new.content


def test_a_picture_that_was_missing_or_broken_is_encoded_once_it_is_there(tmp_path: Path) -> None:
    write_folder(tmp_path, [*PICTURES[:5], b"x" * SIZE], CAPTIONS)
    assert cached_latents(Pooled(), open_folder(tmp_path), CPU).values[5].isnan().all()
    (tmp_path / "5.png").write_bytes(PICTURES[5])
    assert cached_latents(Pooled(), open_folder(tmp_path), CPU).values.isfinite().all()


def test_files_written_while_they_are_encoded_are_refused(tmp_path: Path, cache: Path) -> None:
    class Writing(Pooled):
        def encode(self, images: Tensor) -> Tensor:
            (tmp_path / "set" / "3.png").write_bytes(picture(98))
            return super().encode(images)

    write_folder(tmp_path / "set", PICTURES, CAPTIONS)
    with pytest.raises(ValueError, match="files were written while they were read; start again"):
        cached_latents(Writing(), open_folder(tmp_path / "set"), CPU)
    assert not list(cache.glob("latents-*"))


def test_data_without_files_has_no_stamp_and_its_caches_are_as_before() -> None:
    scenes = Scenes.build(Scenes.Config(), CONTEXT)
    encoder = Pooled()
    assert cached_latents(encoder, scenes, CPU).content == Content()
    seen = encoder.images
    assert cached_latents(encoder, scenes, CPU).content == Content()
    assert encoder.images == seen


class Standardised(CalibratedEncoder):
    """Means over a 2 x 2 grid, standardised."""

    class Config:  # type: ignore[assignment]
        standardise = True

    config = Config()

    def __init__(self) -> None:
        super().__init__((2, 2), 3, "pooled")
        self.pooled = Pooled()

    def features(self, images: Tensor) -> Tensor:
        return self.pooled.encode(images)

    build: Any = None
    decoder: Any = None


Standardised.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("pictures", "again"), [(EDITED, True), (PICTURES, False)], ids=["edited", "copied"])
def test_statistics_follow_the_pictures_too(tmp_path: Path, pictures: list[bytes], again: bool) -> None:
    first, second = Standardised(), Standardised()
    write_folder(tmp_path, PICTURES, CAPTIONS)
    calibrate(first, CalibrationImages(open_folder(tmp_path)), CPU)
    write_folder(tmp_path, pictures, CAPTIONS)
    images = CalibrationImages(open_folder(tmp_path))
    calibrate(second, images, CPU)
    assert (second.pooled.images > 0) == again
    assert first.statistics is not None and second.statistics is not None
    assert torch.equal(first.statistics.mean, second.statistics.mean) != again
    features = torch.cat([Pooled().encode(part) for part in images.batches(4)]).flatten(0, 1).double()
    torch.testing.assert_close(second.statistics.mean, features.mean(0).float())
    torch.testing.assert_close(second.statistics.std, features.std(0, unbiased=False).float())


def test_a_tar_written_since_keeps_its_index_only_while_every_sample_is_in_its_place(tmp_path: Path) -> None:
    write_tars(tmp_path, PICTURES, CAPTIONS)
    open_tars(tmp_path)
    times = load_index(tmp_path / FILE).modified
    write_tars(tmp_path, EDITED, CAPTIONS)
    os.utime(tmp_path / "1.tar", ns=(1, 1))
    assert open_tars(tmp_path).image_bytes(4) == EDITED[4]
    assert load_index(tmp_path / FILE).modified != times
    assert load_index(tmp_path / FILE).modified[1] == 1
    # The same two files in another order: as many bytes, other places.
    members = {f"{number}.{kind}": b"" for number in (4, 3, 5) for kind in ("png", "txt")}
    for name in members:
        members[name] = PICTURES[int(name[0])] if name.endswith("png") else CAPTIONS[int(name[0])].encode()
    size = (tmp_path / "1.tar").stat().st_size
    write_tar(tmp_path / "1.tar", members)
    assert (tmp_path / "1.tar").stat().st_size == size
    with pytest.raises(ValueError, match=r"1\.tar changed.*unimm data index"):
        open_tars(tmp_path)
    build_index(tmp_path, load_index(tmp_path / FILE)).save(tmp_path / FILE)
    assert [open_tars(tmp_path).key(index)[-1] for index in range(COUNT)] == list("012435")


def test_an_index_of_earlier_versions_says_no_times_and_is_looked_at_where_tars_are_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tars(tmp_path, PICTURES, CAPTIONS)
    old: TarIndex = build_index(tmp_path)
    times = old.modified
    object.__setattr__(old, "modified", ())
    old.save(tmp_path / FILE)
    scanned: list[str] = []
    real = build_index.__globals__["_scan"]
    monkeypatch.setitem(build_index.__globals__, "_scan", lambda *a: scanned.append(a[1]) or real(*a))
    newer = (tmp_path / FILE).stat().st_mtime_ns + 10**9
    os.utime(tmp_path / "1.tar", ns=(newer, newer))
    index = open_tars(tmp_path).index
    assert scanned == ["1.tar"]
    assert index.modified == (times[0], newer) == load_index(tmp_path / FILE).modified
    assert index.fingerprint == old.fingerprint
