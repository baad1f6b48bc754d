"""The offset index: it finds every byte, notices change, and refuses unsafe tars."""

from __future__ import annotations

import gzip
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from unimm.data import tar_index
from unimm.data.shards import Shards
from unimm.data.tar_index import FILE, build_index, check_current, load_index, read_span

from .conftest import CONTEXT, encoded, sample, write_tar


def test_every_span_is_the_member_that_tarfile_reads(tars: Path) -> None:
    index = build_index(tars)
    assert len(index) == 30
    for number in range(30):
        shard, _, key = index.key(number).partition("/")
        with tarfile.open(tars / shard) as archive:
            for kind, suffix in (("image", "png"), ("text", "txt")):
                member = archive.extractfile(f"{key}.{suffix}")
                assert member is not None
                assert read_span(tars / shard, index.span(number, kind)) == member.read()
        assert index.span(number, "record").size == 0


def test_an_index_survives_its_file(tars: Path, tmp_path: Path) -> None:
    index = build_index(tars)
    index.save(tmp_path / "i.safetensors")
    read = load_index(tmp_path / "i.safetensors")
    assert read.fingerprint == index.fingerprint
    assert [read.key(i) for i in range(30)] == [index.key(i) for i in range(30)]
    assert read.shards == index.shards


def test_suffixes_keys_and_folders_are_those_of_webdataset(tmp_path: Path) -> None:
    image = encoded(1)
    names = ["./a/01.JPG", "./a/01.json", "b.c/02.webp", "b.c/02.txt", "03.jpeg", "03.txt", "README", "03.seg.png"]
    write_tar(tmp_path / "deep" / "x.tar", dict.fromkeys(names, image))
    index = build_index(tmp_path)
    assert [index.key(i) for i in range(len(index))] == [f"deep/x.tar/{key}" for key in ("a/01", "b.c/02", "03")]


def test_samples_without_image_or_caption_are_left_out_and_counted(tmp_path: Path) -> None:
    members = {**sample(0), "1.png": b"x", "2.txt": b"x", "3.json": b"{}"}
    write_tar(tmp_path / "x.tar", members)
    index = build_index(tmp_path)
    assert len(index) == 1
    assert index.left_out == {"no caption": 1, "no image": 2}


def test_images_with_several_dots_are_counted_and_leave_the_fingerprint_as_it_was(
    tmp_path: Path,
) -> None:
    names = {"v1.5_a.png": b"x", "v1.5_a.txt": b"x", "v1.5_b.png": b"x", "0000.seg.png": b"x"}
    write_tar(tmp_path / "x.tar", sample(0) | names)
    index = build_index(tmp_path)
    assert index.left_out == {"several dots in its name": 2}
    uncounted = replace(index, shards=tuple(shard._replace(left_out={}) for shard in index.shards))
    assert index.fingerprint == uncounted.fingerprint


@pytest.mark.parametrize("damage", ["bad header", "zero header", "cut header", "no end", "half an end"])
def test_a_tar_that_ends_in_the_middle_is_refused(tars: Path, tmp_path: Path, damage: str) -> None:
    whole = (tars / "00001.tar").read_bytes()
    with tarfile.open(tars / "00001.tar") as archive:
        middle = archive.getmembers()[4].offset
        end = archive.offset
    damaged = {
        "bad header": whole[:middle] + b"\xff" * 512 + whole[middle + 512 :],
        "zero header": whole[:middle] + bytes(512) + whole[middle + 512 :],
        "cut header": whole[: middle + 100],
        "no end": whole[:end],
        "half an end": whole[: end + 256],
    }
    (tmp_path / "bad.tar").write_bytes(damaged[damage])
    (tars / "00001.tar").write_bytes(whole[: end + 512])
    assert len(build_index(tars)) == 30, "one block of zeros is an end"
    with pytest.raises(ValueError, match=r"bad\.tar is no whole, uncompressed tar .*copy it again"):
        list(tar_index.members(tmp_path / "bad.tar"))


@pytest.mark.parametrize(
    "name", ["../../etc/cron.d/x.png", "/etc/x.png", "a/../../x.png", "..\\x.png", "C:/x.png", "x\n.png"]
)
def test_a_member_that_would_leave_its_folder_refuses_the_tar(tmp_path: Path, name: str) -> None:
    write_tar(tmp_path / "x.tar", {**sample(0), name: b"x"})
    with pytest.raises(ValueError, match=r"x\.tar: member .* the tar is refused"):
        build_index(tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_refuse_the_tar(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        entry = tarfile.TarInfo("1.png")
        entry.type, entry.linkname = kind, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(ValueError, match="is a link or a device"):
        build_index(tmp_path)


def test_folders_in_a_tar_are_fine(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in (".", "./images"):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
    with pytest.raises(ValueError, match="the tars are empty"):
        build_index(tmp_path)


def test_cut_and_compressed_tars_are_named(tars: Path, tmp_path: Path) -> None:
    whole = (tars / "00001.tar").read_bytes()
    for data in (whole[: len(whole) // 2], gzip.compress(whole), b"not a tar at all"):
        (tmp_path / "bad.tar").write_bytes(data)
        with pytest.raises(ValueError, match=r"bad\.tar is no whole, uncompressed tar"):
            build_index(tmp_path)


def test_one_key_twice_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", {**sample(0), "0000.jpg": b"x"})
    with pytest.raises(ValueError, match="two members of kind image"):
        build_index(tmp_path)


def test_a_changed_set_is_noticed_and_only_new_shards_are_read_again(
    tars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Shards(Shards.Config(path=str(tars)), CONTEXT.resolution)
    assert (tars / FILE).is_file(), "the first use keeps the index"
    before = load_index(tars / FILE)
    write_tar(tars / "00003.tar", sample(40))
    with pytest.raises(ValueError, match=r"00003\.tar changed, came or went.*unimm data index"):
        Shards(Shards.Config(path=str(tars)), CONTEXT.resolution)
    read: list[str] = []
    real = tar_index.members
    monkeypatch.setattr(tar_index, "members", lambda path: read.append(path.name) or real(path))
    after = build_index(tars, before)
    assert read == ["00003.tar"]
    check_current(after, tars)
    assert after.fingerprint == build_index(tars).fingerprint != before.fingerprint
    (tars / "00000.tar").unlink()
    with pytest.raises(ValueError, match=r"00000\.tar"):
        check_current(after, tars)


def test_a_damaged_index_says_how_to_make_it_again(tars: Path) -> None:
    build_index(tars).save(tars / FILE)
    (tars / FILE).write_bytes((tars / FILE).read_bytes()[:100])
    with pytest.raises(ValueError, match=r"damaged.*unimm data index"):
        load_index(tars / FILE)


def test_an_index_that_is_named_must_exist(tars: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no file .*; make it with"):
        Shards(Shards.Config(path=str(tars), index=str(tmp_path / "i")), 16)
    with pytest.raises(ValueError, match="no such folder"):
        Shards(Shards.Config(path=str(tmp_path / "absent")), 16)
