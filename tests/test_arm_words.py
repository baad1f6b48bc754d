"""An arm in words: the questions of the shipped arms are those that their parts make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unimm import arm_words
from unimm.registry import Registry, encoders, objectives, strategies
from unimm.strict_yaml import read_yaml

ARMS = sorted((Path(__file__).parents[1] / "ablations").glob("*.yaml"))


def parts(arm: Path) -> dict[str, dict[str, str]]:
    chosen = {key.removeprefix("override "): name for entry in read_yaml(arm)["defaults"] if isinstance(entry, dict)
              for key, name in entry.items()}  # fmt: skip
    return named(*(chosen[part] for part in arm_words.PARTS))


REGISTRIES: dict[str, Registry[Any]] = dict(zip(arm_words.PARTS, (encoders, objectives, strategies), strict=True))
PLUGIN = Path(__file__).parent / "plugin_package" / "src"


def named(*names: str) -> dict[str, dict[str, str]]:
    return {part: {"name": name} for part, name in zip(arm_words.PARTS, names, strict=True)}


@pytest.mark.parametrize("arm", ARMS, ids=lambda path: path.stem)
def test_the_question_of_an_arm_is_that_of_its_parts(arm: Path) -> None:
    assert read_yaml(arm)["question"] == arm_words.question(arm_words.phrases(parts(arm)))


def test_an_arm_is_one_sentence() -> None:
    assert arm_words.sentence(arm_words.phrases(named("vae", "mse", "joint"))) == (
        "VAE latents are predicted with mean squared error, and the backbone trains jointly on understanding."
    )


def test_what_nobody_knows_is_called_by_its_name() -> None:
    """As a plug-in that is not installed where the page is made; a name that has a module loses it."""
    assert arm_words.sentence(arm_words.phrases(named("mine", "gone.module:MyLoss", "mine"))) == (
        "Targets of encoder mine are predicted with objective MyLoss, and the strategy is mine."
    )


def test_a_plug_in_has_its_own_words_and_never_those_of_its_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unimm_mine.py").write_text(
        "from unimm.objectives.flow_matching import FlowMatching\n\n\nclass MyFlow(FlowMatching):\n    pass\n"
    )
    for folder in (tmp_path, PLUGIN):
        monkeypatch.syspath_prepend(str(folder))
    found = arm_words.phrases(named("unimm_pixels:Pixels", "unimm_mine:MyFlow", "sequential"))
    assert found == {
        "encoder": "coarse pixels",
        "objective": "objective MyFlow",
        "strategy": "the backbone stays frozen",
    }


@pytest.mark.parametrize("part", arm_words.PARTS)
def test_every_component_of_unimm_has_a_phrase_of_its_own(part: str) -> None:
    registry = REGISTRIES[part]
    own = [registry.source(name).own("phrase") for name in registry.names()]
    assert all(own) and len(set(own)) == len(own)
