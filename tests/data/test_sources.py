"""Sources of files: what they yield, and how they replace what they cannot use."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unimm.data.captions import JSON_NOT_TXT, TXT_NOT_JSON, Texts, choose
from unimm.data.folder import Folder
from unimm.data.shards import Shards
from unimm.data.source import ATTEMPTS, Context, IndexedSource, Unusable, Visit
from unimm.training.data_card import VisitLog

from .conftest import CONTEXT, bomb, encoded, sample, write_tar

BAD = {"00000.tar/0007": "broken", "00001.tar/0013": "tiny", "00002.tar/0020": "no_caption"}


def opened(folder: Path, **settings: object) -> Shards:
    return Shards.build(Shards.Config(path=str(folder), **settings), CONTEXT)


def all_visits(source: IndexedSource, begin: int, end: int, seed: int = 0) -> list[Visit]:
    return source.visits(seed, begin, end, source.image, None)


def test_every_epoch_visits_every_usable_sample_and_replaces_the_others(tars: Path) -> None:
    source = opened(tars)
    for epoch in range(3):
        visits = all_visits(source, 30 * epoch, 30 * epoch + 30)
        seen = Counter(visit.key for visit in visits)
        assert len(seen) >= 25
        assert not set(seen) & set(BAD)
        first = {(visit.refused[0].key if visit.refused else visit.key) for visit in visits}
        assert len(first) == 30
        assert {r.key: r.reason for visit in visits for r in visit.refused} == BAD


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(begin=st.integers(0, 90), length=st.integers(1, 12), cut=st.integers(0, 12), seed=st.integers(0, 3))
def test_a_visit_depends_on_seed_and_position_alone(tars: Path, begin: int, length: int, cut: int, seed: int) -> None:
    source, end = opened(tars), begin + length
    cut = min(begin + cut, end)
    whole = all_visits(source, begin, end, seed)
    parts = all_visits(opened(tars), begin, cut, seed) + all_visits(source, cut, end, seed)
    with ThreadPoolExecutor(3) as pool:
        pooled = source.visits(seed, begin, end, source.image, pool)
    for a, b, c in zip(whole, parts, pooled, strict=True):
        assert a._replace(value=None) == b._replace(value=None) == c._replace(value=None)  # type: ignore[arg-type]
        assert torch.equal(a.value, b.value) and torch.equal(a.value, c.value)


def test_the_value_and_texts_of_a_visit_are_those_of_its_key(tars: Path) -> None:
    source = opened(tars)
    keys = {source.key(index): index for index in range(30)}
    for visit in all_visits(source, 0, 30):
        assert torch.equal(visit.value, source.image(keys[visit.key]))
        assert visit.texts.plain == (f"caption {int(visit.key[-4:])}",)


def test_a_set_in_which_nothing_can_be_used_ends_with_advice(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", {"1.png": b"x", "1.txt": b"a", "2.png": bomb(), "2.txt": b"b"})
    with pytest.raises(ValueError, match=f"{ATTEMPTS} samples in a row cannot be used.*unimm data inspect"):
        all_visits(opened(tmp_path), 0, 1)


def test_large_members_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tar(tmp_path / "x.tar", {**sample(0), **sample(1), "2.png": encoded(1), "2.txt": b"a" * (1 << 21)})
    monkeypatch.setattr("unimm.data.decode.IMAGE_BYTES", len(encoded(0)))
    source = opened(tmp_path)
    visits = all_visits(source, 0, 3)
    reasons = {r.key[-1]: (r.reason, r.detail) for visit in visits for r in visit.refused}
    assert reasons["2"][0] in ("no_caption", "too_large")
    assert {visit.key for visit in visits} == {"x.tar/0000"}


def test_json_records_hold_short_long_and_questions(tmp_path: Path) -> None:
    record = {"brief": "s", "long": "l", "qa": [["q", "a"]]}
    write_tar(tmp_path / "x.tar", sample(3, **record))
    source = opened(tmp_path, short="brief", questions="qa")
    assert source.understanding == "questions"
    assert source.texts(0) == Texts(("s",), ("l",), ("caption 3",), (("q", "a"),), ".txt")
    assert choose(source.texts(0), "short", 0, 0).text == "s"
    assert opened(tmp_path).understanding == "descriptions"


NEW = "a red circle left of a blue square"


@pytest.mark.parametrize(
    ("entry", "captions", "origin"),
    [
        (None, (NEW,), ".txt"),
        ("", (NEW,), ".txt"),
        ([""], (NEW,), ".txt"),
        ([None, " "], (NEW,), ".txt"),
        (NEW.replace(" ", "  "), (NEW,), ".txt and .json alike"),
        (["IMG_2231.JPG", NEW], ("IMG_2231.JPG", NEW), ".txt and .json alike"),
        ("IMG_2231.JPG", (NEW,), TXT_NOT_JSON),
    ],
)
def test_img2datasets_json_never_hides_the_caption_of_its_txt(
    tmp_path: Path, entry: object, captions: tuple[str, ...], origin: str
) -> None:
    """Its tars have jpg, json and txt; sets that were captioned anew have the new caption in the .txt."""
    record = {"caption": entry, "url": "http://x", "key": "0"}
    members = {"0.jpg": encoded(0, kind="JPEG"), "0.json": json.dumps(record).encode(), "0.txt": NEW.encode()}
    write_tar(tmp_path / "x.tar", members)
    assert opened(tmp_path).texts(0) == Texts(plain=captions, origin=origin)


def test_an_entry_that_was_named_comes_before_the_txt(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", sample(0, caption="old", recaption="new") | sample(1, caption="old", recaption=""))
    source = opened(tmp_path, caption="recaption")
    assert source.texts(0) == Texts(plain=("new",), origin=JSON_NOT_TXT)
    assert source.texts(1) == Texts(plain=("caption 1",), origin=".txt")


def test_the_card_says_which_file_captions_came_from_and_how_many_differ(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for number in range(6):
        members |= sample(number, caption=["old", f"caption {number}"][number % 2])
    write_tar(tmp_path / "x.tar", members)
    source, log, resumed = opened(tmp_path), VisitLog(), VisitLog()
    visits = all_visits(source, 0, 12)
    log.add(visits[:6], [choose(visit.texts, "short", 0, visit.position) for visit in visits[:6]])
    resumed.restore(json.loads(json.dumps(log.state())))
    for one in (log, resumed):
        one.add(visits[6:], [choose(visit.texts, "short", 0, visit.position) for visit in visits[6:]])
    found = log.card(source, "encode")["captions_from"]
    assert found["visits"] == {TXT_NOT_JSON: 6, ".txt and .json alike": 6}
    assert found["differ"] == 6
    assert sorted(found["examples"]) == ["x.tar/0000", "x.tar/0002", "x.tar/0004"]
    assert resumed.card(source, "encode") == log.card(source, "encode")


@pytest.mark.parametrize(
    ("data", "caption"),
    [
        (b"\xef\xbb\xbfa red circle\r\n", "a red circle"),
        ("a red circle".encode("utf-16"), None),
        ("a red circle".encode("utf-16-le"), None),
        ("rött".encode("latin-1"), None),
    ],
)
def test_a_txt_is_utf8_with_or_without_a_byte_order_mark(tmp_path: Path, data: bytes, caption: str | None) -> None:
    write_tar(tmp_path / "x.tar", {"0.png": encoded(0), "0.txt": data})
    if caption is not None:
        assert opened(tmp_path).texts(0).captions == (caption,)
        return
    with pytest.raises(Unusable, match=r"utf-8|not text: a NUL character"):
        opened(tmp_path).texts(0)


def test_what_changes_the_images_changes_the_name(tars: Path) -> None:
    names = [
        opened(tars).name,
        opened(tars, min_side=8).name,
        opened(tars, max_pixels=10_000).name,
        Shards.build(Shards.Config(path=str(tars)), Context(CONTEXT.world, 32, 12)).name,
    ]
    assert opened(tars, resolution=32).name == names[-1]
    assert opened(tars, resolution=32).image(0).shape == (3, 32, 32)
    (tars / "index.safetensors").unlink()
    write_tar(tars / "00002.tar", sample(99))
    assert len({*names, opened(tars).name}) == 5


def folder_of(path: Path, rows: list[dict[str, object]], images: dict[str, bytes]) -> Path:
    for name, data in images.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    path.mkdir(exist_ok=True)
    (path / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n")
    return path


def test_a_folder_yields_its_lines(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"file": f"sub/{n}.jpg", "caption": [f"c{n}", "d"], "long": "l"} for n in range(3)]
    rows.append({"file": "absent.png", "caption": "x"})
    folder = folder_of(tmp_path / "f", rows, {f"sub/{n}.jpg": encoded(n, kind="JPEG") for n in range(3)})
    source = Folder.build(Folder.Config(path=str(folder)), CONTEXT)
    visits = all_visits(source, 0, 4)
    assert {visit.key for visit in visits} == {f"sub/{n}.jpg" for n in range(3)}
    assert [r.detail for visit in visits for r in visit.refused][:1] == ["no such file"]
    assert source.texts(1) == Texts((), ("l",), ("c1", "d"))
    before = source.name
    (folder / "sub/0.jpg").write_bytes(encoded(50, 60))
    assert Folder.build(Folder.Config(path=str(folder)), CONTEXT).name != before


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"file": "../x.png"}, "line 1: '../x.png' would leave the folder"),
        ({"file": "/etc/x.png"}, "would leave the folder"),
        ({"image": "x.png"}, "source.image names the entry"),
    ],
)
def test_paths_out_of_a_folder_are_refused(tmp_path: Path, row: dict[str, object], message: str) -> None:
    folder = folder_of(tmp_path / "f", [row], {})
    with pytest.raises(ValueError, match=message):
        Folder.build(Folder.Config(path=str(folder)), CONTEXT)


def test_the_file_of_lines_must_be_clear(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no \.jsonl file"):
        Folder.build(Folder.Config(path=str(tmp_path)), CONTEXT)
    folder_of(tmp_path, [{"file": "a.png", "caption": "a"}], {"a.png": encoded(1)})
    (tmp_path / "b.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"several \.jsonl files"):
        Folder.build(Folder.Config(path=str(tmp_path)), CONTEXT)
    assert len(Folder.build(Folder.Config(path=str(tmp_path), file="captions.jsonl"), CONTEXT)) == 1
    with pytest.raises(ValueError, match="line 1: no 'file'"):
        Folder.build(Folder.Config(path=str(tmp_path), file="b.jsonl"), CONTEXT)


def test_the_card_counts_what_was_visited_and_counts_on_after_a_stop(tars: Path) -> None:
    source = opened(tars)

    def steps(log: VisitLog, numbers: range) -> VisitLog:
        for step in numbers:
            visits = all_visits(source, 10 * step, 10 * step + 10)
            log.add(visits, [choose(visit.texts, "short", 0, visit.position) for visit in visits])
        return log

    straight, resumed = steps(VisitLog(), range(6)), VisitLog()
    resumed.restore(json.loads(json.dumps(steps(VisitLog(), range(2)).state())))
    steps(resumed, range(2, 6))
    card = straight.card(source, "encode")
    assert card == resumed.card(source, "encode")
    assert card["visits"]["positions"] == 60
    assert card["visits"]["captions"] == {"plain": 60}
    assert card["unusable"]["by_reason"] == {"broken": 1, "tiny": 1, "no_caption": 1}
    assert {row["sample"]: row["reason"] for row in card["unusable"]["samples"]} == BAD
    assert card["replaced"]["count"] == 6 == len(card["replaced"]["positions"])
    assert {row["sample"] for row in card["replaced"]["positions"]} == set(BAD)
    assert steps(VisitLog(), range(1, 7)).digest != straight.digest
