"""The flip map's controls: what they read where the answer is known."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from unimm.config import load
from unimm.foundation.folder import Foundation
from unimm.runs.run import Run

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "experiments"))

import controls  # noqa: E402


def test_the_probe_reads_a_class_that_is_there_and_none_that_is_not() -> None:
    draws = torch.Generator().manual_seed(0)
    classes = torch.arange(400) % 4
    noise = torch.randn(400, 3, 5, generator=draws)
    shown = noise + 4 * torch.nn.functional.one_hot(classes, 5)[:, None, :]
    probe = controls.Probe(shown[:200], classes[:200])
    assert probe.share_right(shown[200:], classes[200:]) > 0.95
    assert probe.share_right(noise[200:], classes[200:]) < 0.45


def test_shapes_can_be_read_off_real_tokens(tmp_path: Path) -> None:
    run = Run(load(ROOT / "ablations" / "vae_fm.yaml", ["profile=tiny"]), tmp_path, torch.device("cpu"))
    probe = controls.Probe(*controls.real_tokens(run.arm, "train", 400))
    assert probe.share_right(*controls.real_tokens(run.arm, "test", 100)) > 0.5  # chance: 0.25
    assert {len(prompt["include"]) for prompt in controls.asked(run)} == {1}


@pytest.mark.slow
def test_ways_through_the_frozen_parts_keep_most_and_the_longer_way_no_more() -> None:
    found = dict(controls.pictures(Foundation("scenes-nano"), per_task=4))
    facts = {way: scores["atoms/overall"] for way, scores in found.items()}
    assert facts["scenes"] == 1 and min(facts["VAE"], facts["CLIP"]) > 0.8
    assert 0.6 < facts["VAE, then CLIP"] <= facts["scenes"]
