"""The data card in a checkpoint: a run goes on only with the data that it began with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from unimm.curation.pack import pack, scene_samples
from unimm.data.mixture import Mixture
from unimm.data.shards import Shards
from unimm.data.source import Context, Source
from unimm.data.tar_index import FILE, build_index
from unimm.scenes.world import world
from unimm.training.data_card import DataCard


def card_of(source: Source) -> DataCard:
    data: Any = SimpleNamespace(visits=SimpleNamespace(source=source, waited=0.0))
    return DataCard(Path("unused"), data)


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
