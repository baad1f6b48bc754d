"""Which wordings a choice may look at: those of the captions that training showed, over all of an arm's stages."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from unimm.config import dump, load
from unimm.files import START
from unimm.runs.run import Run
from unimm.runs.stages import stage_configs
from unimm.runs.wordings import trained_on
from unimm.schema import DataConfig, RunConfig

ARM = Path(__file__).parents[2] / "ablations" / "vae_fm.yaml"
STAGES = ("training.samples=64", "stages.first.samples=32", "stages.last.samples=32")


def of(config: RunConfig, folder: Path) -> Any:
    return trained_on(cast(Run, SimpleNamespace(config=config, folder=folder)))


@pytest.mark.parametrize(
    ("long", "placed", "kinds"),
    [
        (0.1, 0, {"short", "long"}),
        (1, 0, {"long"}),
        (0, 1, {"placed"}),
        (0, 0, {"short"}),
        (0.3, 0.3, {"short", "long", "placed"}),
        (0.7, 0.3, {"long", "placed"}),  # 1 - 0.7 - 0.3 is not quite 0
    ],
)
def test_kinds_are_those_with_a_share(long: float, placed: float, kinds: set[str]) -> None:
    data = DataConfig(long_caption_share=long, placed_caption_share=placed)
    assert data.caption_kinds == kinds
    draws = (number / 1000 for number in range(1000))
    assert {data.caption_kind(draw) for draw in draws} == kinds, "and what the draws say"


def test_captions_and_prompts_from_elsewhere_have_no_such_kinds(tmp_path: Path) -> None:
    tiny = load(ARM, ["profile=tiny", "data.long_caption_share=1"])
    assert of(tiny, tmp_path) == {"long"}
    asked = load(ARM, ["profile=tiny", "data.long_caption_share=1", "evaluation.prompts=geneval"])
    assert of(asked, tmp_path) is None
    files = ("source=folder", "source.path=pictures")
    shown = load(
        ARM,
        ["profile=tiny", *files, "data.long_caption_share=1", "evaluation.prompts=scenes", "evaluation.reference=none"],
    )
    assert of(shown, tmp_path) is None


def test_a_later_stage_has_seen_what_the_stages_before_it_showed(tmp_path: Path) -> None:
    whole = load(ARM, ["profile=tiny", *STAGES, "data.long_caption_share=0", "stages.last.long_caption_share=1"])
    (tmp_path / "config.yaml").write_text(dump(whole))
    first, last = stage_configs(whole).items()
    assert of(first[1], tmp_path / first[0]) == {"short"}
    folder = tmp_path / last[0]
    folder.mkdir()
    (folder / START).touch()
    assert of(last[1], folder) == {"short", "long"}
    (tmp_path / "config.yaml").unlink()
    assert of(last[1], folder) is None, "what it started from is not known"
