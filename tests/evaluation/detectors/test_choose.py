"""Detectors from the command line: settings that nest, mistakes that say what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from unimm.evaluation.detectors.scenes import Scenes
from unimm.evaluation.suite import choose
from unimm.registry import detectors


def test_a_name_and_its_settings() -> None:
    found = choose("scenes world=scenes-nano")
    assert isinstance(found, Scenes) and found.world.name == "scenes-nano"
    assert choose("scenes").name == "scenes-judge"


def test_settings_nest_and_values_may_have_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(detectors.get("mask2former"), "__init__", lambda self, config: given.append(config))
    choose("mask2former source='my weights/m2f' colours=clip thresholds.counting=0.5 thresholds.overlap=0.7")
    (config,) = given
    assert (config.source, config.colours) == ("my weights/m2f", Path("clip"))
    assert (config.thresholds.counting, config.thresholds.overlap, config.thresholds.confidence) == (0.5, 0.7, 0.3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mask2fromer source=x", "did you mean 'mask2former'"),
        ("", "choices: mask2former"),
        ("mask2former source=x", r"colours: Field required; its settings are colours, device, thresholds, source"),
        ("mask2former weights", "'weights' is no setting; write key=value"),
        ("scenes world=scenes size=3", "size: Extra inputs are not permitted"),
        ("mask_rcnn weights=absent.pth colours=absent", "absent"),
    ],
)
def test_mistakes_say_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose(text)
