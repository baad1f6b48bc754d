"""An arm in words: the questions of the shipped arms are those that their parts make."""

from __future__ import annotations

from pathlib import Path

import pytest

from unimm import arm_words
from unimm.registry import encoders, objectives, strategies
from unimm.strict_yaml import read_yaml

ARMS = sorted((Path(__file__).parents[1] / "ablations").glob("*.yaml"))


def parts(arm: Path) -> dict[str, dict[str, str]]:
    chosen = {key.removeprefix("override "): name for entry in read_yaml(arm)["defaults"] if isinstance(entry, dict)
              for key, name in entry.items()}  # fmt: skip
    return {part: {"name": chosen[part]} for part in arm_words.PARTS}


@pytest.mark.parametrize("arm", ARMS, ids=lambda path: path.stem)
def test_the_question_of_an_arm_is_that_of_its_parts(arm: Path) -> None:
    assert read_yaml(arm)["question"] == arm_words.question(parts(arm))


def test_an_arm_is_one_sentence_and_plug_ins_have_their_names() -> None:
    built_in = {part: {"name": name} for part, name in zip(arm_words.PARTS, ("vae", "mse", "joint"), strict=True)}
    assert arm_words.sentence(built_in) == (
        "VAE latents are predicted with mean squared error, and the backbone trains jointly on understanding."
    )
    mine = {part: {"name": "mine"} for part in arm_words.PARTS}
    assert arm_words.sentence(mine) == (
        "Targets of encoder mine are predicted with objective mine, and the strategy is mine."
    )


def test_every_phrase_is_of_a_component_that_there_is() -> None:
    for part, registry in zip(arm_words.PARTS, (encoders, objectives, strategies), strict=True):
        assert set(arm_words._PHRASES[part]) <= set(registry.names())
