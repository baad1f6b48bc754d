"""Streamed shards: deterministic while nothing fails, resumed by shard, and never a command."""

from __future__ import annotations

import io
import json
import sys
import tarfile
import tracemalloc
from pathlib import Path

import pytest
import torch

from unimm.data import decode, remote_shards
from unimm.data.remote_shards import RemoteShards
from unimm.data.source import Visit

from .conftest import CONTEXT, sample, write_tar


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(ValueError, match=r"pip install 'unimm\[shards\]'"):
        RemoteShards.build(RemoteShards.Config(urls="x.tar"), CONTEXT)


@pytest.fixture
def urls(tars: Path) -> str:
    pytest.importorskip("webdataset")
    return f"file:{tars}/{{00000..00002}}.tar"


def opened(urls: str, buffer: int = 4) -> RemoteShards:
    return RemoteShards.build(RemoteShards.Config(urls=urls, buffer=buffer), CONTEXT)


def visits(source: RemoteShards, begin: int, end: int, seed: int = 0) -> list[Visit]:
    return source.visits(seed, begin, end, lambda index: torch.empty(0), None)


@pytest.mark.parametrize("compression", ["", "gz"])
def test_a_member_that_is_too_large_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    pytest.importorskip("webdataset")
    monkeypatch.setattr(remote_shards, "IMAGE_BYTES", 1 << 16)
    monkeypatch.setattr(decode, "IMAGE_BYTES", 1 << 16)
    path, large = tmp_path / "x.tar", 1 << 27
    with tarfile.open(path, f"w:{compression}") as archive:
        for name, size in (("0.bin", large), ("1.png", large), ("1.txt", 5)):
            entry = tarfile.TarInfo(name)
            entry.size = size
            archive.addfile(entry, io.BytesIO(b"a" * size))
        for name, data in sample(2).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    tracemalloc.start()
    [visit] = visits(opened(f"file:{path}", buffer=0), 0, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    refused = [(Path(r.key).name, r.reason) for r in visit.refused]
    assert refused == [("0", "broken"), ("1", "too_large")] and visit.key.endswith("/0002")
    assert peak < large / 4, "a block of gzip may unpack to 10 MiB, a member to anything"


def test_the_side_of_the_images_can_be_chosen(urls: str) -> None:
    source = RemoteShards.build(RemoteShards.Config(urls=urls, resolution=24), CONTEXT)
    assert visits(source, 0, 1)[0].value.shape == (3, 24, 24)
    assert source.name.endswith("@24")


@pytest.mark.parametrize("buffer", [0, 4, 100])
def test_an_epoch_is_every_usable_sample_of_every_shard(urls: str, buffer: int) -> None:
    source = opened(urls, buffer)
    first, second = visits(source, 0, 27), visits(source, 27, 54)
    for epoch in (first, second):
        assert len({visit.key for visit in epoch}) == 27
    assert [visit.key for visit in first] != [visit.key for visit in second]
    assert {r.reason for visit in first + second for r in visit.refused} <= {"broken", "tiny", "no_caption"}
    assert [v.key for v in visits(opened(urls, buffer), 0, 27)] == [v.key for v in first]
    assert [v.key for v in visits(opened(urls, buffer), 0, 27, seed=1)] != [v.key for v in first]


@pytest.mark.parametrize("stop", [0, 5, 16, 27, 40])
def test_a_journal_resumes_at_the_next_sample_while_shards_stay_the_same(urls: str, stop: int) -> None:
    straight, first = opened(urls), opened(urls)
    expected = visits(straight, 0, 60)
    for begin in range(0, stop + 10, 5):
        visits(first, begin, begin + 5)  # reads past the stop, as reading ahead does
    resumed = opened(urls)
    resumed.restore(json.loads(json.dumps(first.journal())))
    for visit, wanted in zip(visits(resumed, stop, 60), expected[stop:], strict=True):
        assert (visit.position, visit.key) == (wanted.position, wanted.key)
        assert torch.equal(visit.value, wanted.value)


def broken(number: int) -> dict[str, bytes]:
    return sample(number) | {f"{number:04d}.png": b"x"}


def test_what_a_shard_refuses_at_its_end_is_told_at_the_next_visit_and_after_a_resume(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    write_tar(tmp_path / "0.tar", sample(0) | broken(1))
    write_tar(tmp_path / "1.tar", broken(2))
    url = f"file:{tmp_path}/{{0..1}}.tar"

    def keys(visit: Visit) -> list[str]:
        return sorted(refused.key[-4:] for refused in visit.refused)

    source = opened(url, 0)
    seen = visits(source, 0, 8)
    for key in ("0001", "0002"):
        assert sum(keys(visit).count(key) for visit in seen) in (7, 8), "once an epoch"
    for stop in range(1, 7):
        resumed = opened(url, 0)
        resumed.restore(json.loads(json.dumps(source.journal())))
        assert visits(resumed, stop, stop + 1)[0].refused == seen[stop].refused
    old = opened(url, 0)
    old.restore({"begins": [[0, 0, 0]], "failures": []})
    assert [visit.refused for visit in visits(old, 0, 8)] == [visit.refused for visit in seen]


def test_too_many_refused_in_a_row_end_the_run_across_shards(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    for shard in range(2):
        numbers = range(60 * shard, 60 * shard + 60)
        write_tar(tmp_path / f"{shard}.tar", {k: v for number in numbers for k, v in broken(number).items()})
    with pytest.raises(ValueError, match="100 samples in a row cannot be used"):
        visits(opened(f"file:{tmp_path}/{{0..1}}.tar", 0), 0, 1)


def test_ranks_read_on_to_their_own_part(urls: str) -> None:
    """What a part of every batch gives is what the whole stream has there."""
    whole, part = visits(opened(urls), 0, 40), opened(urls)
    for begin in range(3, 40, 10):
        seen = visits(part, begin, begin + 4)
        assert [(v.position, v.key) for v in seen] == [(v.position, v.key) for v in whole[begin : begin + 4]]


def test_a_shard_that_fails_is_noted_and_the_others_go_on(urls: str, tars: Path) -> None:
    whole = (tars / "00001.tar").read_bytes()
    (tars / "00001.tar").write_bytes(whole[: len(whole) // 2])
    source = opened(urls)
    seen = visits(source, 0, 60)
    assert {visit.key.rpartition("/")[0][-9:] for visit in seen} == {"00000.tar", "00001.tar", "00002.tar"}
    (part,) = source.parts()
    assert "00001.tar" in part["failures"][0]
    (tars / "00001.tar").unlink()
    assert len(visits(opened(urls), 0, 30)) == 30


def test_when_every_shard_fails_the_run_ends(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    with pytest.raises(ValueError, match="no sample of any shard can be used"):
        visits(opened(f"file:{tmp_path}/absent.tar"), 0, 1)


def test_commands_and_unsafe_names_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    with pytest.raises(ValueError, match="would run a command"):
        opened("pipe:touch /tmp/x")
    write_tar(tmp_path / "x.tar", {f"../{name}": data for name, data in sample(1).items()})
    with pytest.raises(ValueError, match="would leave its folder"):
        visits(opened(f"file:{tmp_path}/x.tar"), 0, 1)
