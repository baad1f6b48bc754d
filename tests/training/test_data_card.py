"""The data card: a run goes on only with the data that it began with, and texts that were cut are listed."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from unimm.backbones.causal_lm import Row
from unimm.backbones.wording import generation_ids
from unimm.components import Encoder
from unimm.curation.pack import pack, scene_samples
from unimm.data.cache import cached_latents
from unimm.data.captions import Texts
from unimm.data.latents import Cached, Encoded, SourceLatents
from unimm.data.mixture import Mixture
from unimm.data.shards import Shards
from unimm.data.source import Context, IndexedSource, Source, Visit
from unimm.data.tar_index import FILE, build_index
from unimm.foundation.folder import Foundation
from unimm.pretraining.tokenizer import build_tokenizer
from unimm.registry import encoders
from unimm.scenes.world import world
from unimm.schema import DataConfig
from unimm.training.data_card import DataCard, VisitLog
from unimm.training.passes import PassLog
from unimm.training.step_data import StepData, wording

CPU = torch.device("cpu")


def pixels() -> Encoder:
    cls: Any = encoders.get("pixels")
    encoder: Encoder = cls.build(cls.Config(patch=8, standardise=False), Foundation("scenes-nano", 32))
    return encoder


def card_of(source: Source, latents: SourceLatents | None = None) -> DataCard:
    """Of a run that encodes at every step, unless ``latents`` are cached."""
    latents = latents or Encoded(pixels(), source, CPU)
    visits = SimpleNamespace(source=source, latents=latents, waited=0.0)
    data: Any = SimpleNamespace(visits=visits, passes=PassLog())
    return DataCard(Path("unused"), data)


def cached(source: IndexedSource) -> DataCard:
    return card_of(source, Cached(cached_latents(pixels(), source, CPU), source))


def shards(folder: Path) -> Shards:
    return Shards(Shards.Config(path=str(folder)), 32)


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    pack(scene_samples(world("scenes-nano"), "train", 4, 32, "png"), tmp_path / "tars", 2, 4)
    return tmp_path / "tars"


def add_tar(folder: Path) -> None:
    (folder / "00009.tar").write_bytes((folder / "00000.tar").read_bytes())
    build_index(folder).save(folder / FILE)


def test_data_that_changed_while_the_run_stood_is_refused(tars: Path) -> None:
    state = card_of(shards(tars)).state_dict()
    assert state["source"] == [shards(tars).name]
    card_of(shards(tars)).load_state_dict(state)
    add_tar(tars)
    with pytest.raises(ValueError, match=r"the data changed since the run began: was .*#.*, is .*#.*--overwrite"):
        card_of(shards(tars)).load_state_dict(state)


def test_a_changed_part_of_a_mixture_is_refused(tars: Path) -> None:
    def mixture() -> Mixture:
        parts = [
            {"weight": 3, "source": "scenes"},
            {"weight": 1, "source": {"name": "shards", "path": str(tars)}},
        ]
        return Mixture.build(Mixture.Config(parts=parts), Context(world("scenes-nano"), 32, 4))  # type: ignore[arg-type]

    state = card_of(mixture()).state_dict()
    card_of(mixture()).load_state_dict(state)
    add_tar(tars)
    with pytest.raises(ValueError, match="the data changed since the run began"):
        card_of(mixture()).load_state_dict(state)


def test_a_folder_may_move_and_old_checkpoints_name_no_source(tars: Path) -> None:
    state = card_of(shards(tars)).state_dict()
    moved = tars.rename(tars.with_name("moved"))
    card_of(shards(moved)).load_state_dict(state)
    add_tar(moved)
    del state["source"]
    card_of(shards(moved)).load_state_dict(state)


class LongTexts:
    """Sample k of four has captions and questions of 600 k words."""

    waited = 0.0

    def between(self, begin: int, end: int, ahead: Any = ()) -> list[Visit]:
        words = [" ".join(["circle"] * 600 * (position % 4)) or "a" for position in range(begin, end)]
        return [
            Visit(position, f"{position % 4}.png", 0, Texts(plain=(text,), questions=((text, "yes"),)), torch.zeros(1))
            for position, text in zip(range(begin, end), words, strict=True)
        ]

    def finish(self, visits: list[Visit]) -> torch.Tensor:
        return torch.stack([visit.value for visit in visits])


class AskedInTurn:
    def __init__(self, visits: LongTexts, row_of: Any) -> None:
        self.visits, self.row_of = visits, row_of

    def between(self, begin: int, end: int, later: Any) -> tuple[list[Row], list[torch.Tensor]]:
        visits = self.visits.between(begin, end)
        return [self.row_of(visit, False) for visit in visits], [visit.value for visit in visits]


def test_texts_that_are_longer_than_the_backbone_reads_are_counted_and_listed(tars: Path) -> None:
    words, visits = build_tokenizer(), LongTexts()
    assert len(generation_ids(words, "circle " * 1000)) > 1000
    questions = AskedInTurn(visits, wording(words, 0, 2))
    kind_of = DataConfig(long_caption_share=0.0).caption_kind
    data = StepData(0, 4, visits, lambda text: generation_ids(words, text), kind_of, questions, [0, 4, 8])  # type: ignore[arg-type]
    log = VisitLog()
    for step in range(2):  # every sample twice: counted once
        data.generation(step)
        rows, _ = data.understanding(step)
        assert max(len(row.ids) for row in rows) < 1100
        log.add(*data.seen)
    again = VisitLog()
    again.restore(log.state())
    expected = [("2.png", 1200 - 1024), ("3.png", 1800 - 1024)]
    assert again.card(shards(tars), "encode")["cut"] == {
        "count": 2,
        "samples": [
            {"sample": key, "tokens_left_out": {"caption": tokens, "question and answer": tokens}}
            for key, tokens in expected
        ],
    }


def test_a_checkpoint_without_cut_texts_is_of_an_earlier_version(tars: Path) -> None:
    state = VisitLog().state()
    del state["cut"]
    log = VisitLog()
    log.restore(state)
    assert log.card(shards(tars), "encode")["cut"] == {"count": 0, "samples": []}


def test_the_passes_so_far_are_in_the_checkpoint(tars: Path) -> None:
    """A resumed run counts FLOPs over all of its steps; a checkpoint of a version that noted none starts at nothing."""
    first, resumed, old = (card_of(shards(tars)) for _ in range(3))
    first.data.passes.generation(["short", "long"], 20)
    state = first.state_dict()
    resumed.load_state_dict(state)
    assert resumed.data.passes.passes == first.data.passes.passes != []
    del state["passes"]
    old.load_state_dict(state)
    assert old.data.passes.passes == []


def written(folder: Path, old: bytes, new: bytes) -> None:
    """Bytes of the first tar replaced in place, by as many."""
    path = folder / "00000.tar"
    assert old in path.read_bytes() and len(old) == len(new)
    path.write_bytes(path.read_bytes().replace(old, new, 1))


@pytest.mark.parametrize("what", ["image", "caption"])
def test_a_run_with_cached_latents_knows_every_byte_of_its_samples(
    tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    state = cached(shards(tars)).state_dict()
    written(tars, b"", b"")
    cached(shards(tars)).load_state_dict(state)  # written again, or copied: the same bytes
    source = shards(tars)
    old = source.image_bytes(0)[60:80] if what == "image" else source.text_bytes(0)[-8:]
    written(tars, old, bytes(byte ^ 1 for byte in old))
    with pytest.raises(ValueError, match=r"samples hold other bytes than when the run began.*--overwrite"):
        cached(shards(tars)).load_state_dict(state)


def test_a_run_that_encodes_at_every_step_knows_its_files_by_size_and_time(tars: Path) -> None:
    state = card_of(shards(tars)).state_dict()
    card_of(shards(tars)).load_state_dict(state)
    copy = Path(shutil.copytree(tars, tars.with_name("copy"), copy_function=shutil.copy2))
    card_of(shards(copy)).load_state_dict(state)
    written(tars, b"", b"")
    with pytest.raises(ValueError, match=r"files were written since the run began.*cp -p.*--overwrite"):
        card_of(shards(tars)).load_state_dict(state)


def test_checkpoints_of_earlier_versions_know_names_and_sizes_only(tars: Path) -> None:
    state = card_of(shards(tars)).state_dict()
    del state["content"]
    written(tars, b"", b"")
    card_of(shards(tars)).load_state_dict(state)


def test_a_state_fits_a_checkpoint_that_is_read_without_pickle(tars: Path, tmp_path: Path) -> None:
    state = card_of(shards(tars)).state_dict()
    torch.save(state, tmp_path / "x")
    card_of(shards(tars)).load_state_dict(torch.load(tmp_path / "x", weights_only=True))
