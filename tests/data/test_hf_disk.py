"""Hugging Face datasets saved on disk, written by the library itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from unimm.data.captions import Texts
from unimm.data.hf_disk import HfDisk

from .conftest import CONTEXT, encoded


def test_without_the_library_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'unimm\[hf\]'"):
        HfDisk.build(HfDisk.Config(path=str(tmp_path)), CONTEXT)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="was not written by save_to_disk"):
        HfDisk.build(HfDisk.Config(path=str(tmp_path)), CONTEXT)


def test_rows_are_samples(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    images = [{"bytes": encoded(n), "path": None} for n in range(6)] + [{"bytes": encoded(6)[:90], "path": None}]
    # A column that nobody asked for stays unread, whatever it holds.
    junk = [{"bytes": b"no image", "path": None}] * 7
    rows = {"picture": images, "source": junk, "text": [f"caption {n}" for n in range(7)], "short": [["s"]] * 7}
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "source": datasets.Image(),
            "text": datasets.Value("string"),
            "short": datasets.Sequence(datasets.Value("string")),
        }
    )
    table = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": table, "test": table.select([0])}).save_to_disk(str(tmp_path / "d"))
    settings = {"path": str(tmp_path / "d"), "image": "picture", "caption": "text"}
    source = HfDisk.build(HfDisk.Config(**settings, split="train"), CONTEXT)
    visits = source.visits(0, 0, 7, source.image, None)
    assert [r.key for visit in visits for r in visit.refused if r.reason == "broken"][:1] == ["train/6"]
    assert {visit.texts.plain[0] for visit in visits} <= {f"caption {n}" for n in range(6)}
    assert source.texts(2) == Texts(("s",), (), ("caption 2",))
    with pytest.raises(ValueError, match=r"no column of texts \(s, long, words\).*: picture, source, text, short"):
        HfDisk.build(HfDisk.Config(**settings | {"caption": "words", "short": "s"}, split="train"), CONTEXT)
    test = HfDisk.build(HfDisk.Config(**settings, split="test"), CONTEXT)
    assert len(test) == 1
    assert test.name != source.name
    for split in (None, "validation"):
        with pytest.raises(ValueError, match=r"source\.split is one of: test, train"):
            HfDisk.build(HfDisk.Config(**settings, split=split), CONTEXT)
    with pytest.raises(ValueError, match=r"source\.image is one of: picture"):
        HfDisk.build(HfDisk.Config(path=str(tmp_path / "d"), split="train"), CONTEXT)


@pytest.mark.parametrize("kind", ["list of images", "numbers"])
def test_a_column_of_other_things_than_one_image_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    datasets = pytest.importorskip("datasets")
    image = {"bytes": encoded(0), "path": None}
    value, feature = ([image, image], datasets.Sequence(datasets.Image())) if "list" in kind else (3, None)
    rows = datasets.Dataset.from_dict({"image": [value], "caption": ["a"]})
    if feature is not None:
        rows = rows.cast_column("image", feature)
    rows.save_to_disk(str(tmp_path / "d"))
    with pytest.raises(ValueError, match=r"column 'image' holds .*, not one image a row: name another"):
        HfDisk.build(HfDisk.Config(path=str(tmp_path / "d")), CONTEXT)
