"""What the head is given: the chosen layer's states, on the scale of prompts, from trained weights or random ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unimm.arm import assemble, training_prompts
from unimm.backbones.causal_lm import CausalLM, conditions_of, standardise_conditions
from unimm.backbones.conditions import LEAST, statistics_of
from unimm.backbones.wording import generation_ids
from unimm.components import weights_hash
from unimm.config import load
from unimm.data.scenes import Scenes, training_scenes
from unimm.encoders.pixels import Pixels
from unimm.foundation.folder import Foundation

ROOT = Path(__file__).parents[2]
FOUNDATION = Foundation("scenes-nano")
ENCODER = Pixels(Pixels.Config(patch=2), side=8)
CAPTIONS = ["a photo of a red circle", "a photo of a blue square above a black cross", "a photo of three crosses"]
Build = Callable[..., Any]


def nano(start: str = "understanding", seed: int = 0, **settings: Any) -> CausalLM:
    return CausalLM.build(CausalLM.Config(queries=3, **settings), FOUNDATION, ENCODER, start, seed).eval()


def prompts(backbone: Any) -> list[list[int]]:
    return [generation_ids(backbone.tokenizer, caption) for caption in CAPTIONS]


def test_statistics_are_numpys_over_prompts_and_dead_channels_are_not_blown_up() -> None:
    states = torch.randn(50, 3, 4, generator=torch.Generator().manual_seed(0)) * 5 + 2
    states[:, 0, 1] = 7.0
    found, std = statistics_of(states), states.double().numpy().std(axis=0)
    np.testing.assert_allclose(found.mean, states.double().numpy().mean(axis=0), rtol=1e-5)
    assert float(found.std[0, 1]) == pytest.approx(LEAST * std.mean())
    std[0, 1] = LEAST * std.mean()
    np.testing.assert_allclose(found.std, std, rtol=1e-5)


@torch.no_grad()
def test_standardised_states_have_mean_0_and_deviation_1_over_their_prompts() -> None:
    raw, ours = nano(), nano(standardise=True)
    assert torch.equal(conditions_of(raw, prompts(raw)), conditions_of(ours, prompts(ours))), "not measured yet"
    standardise_conditions(ours, prompts(ours))
    states = conditions_of(ours, prompts(ours))
    torch.testing.assert_close(states.mean(0), torch.zeros(3, ours.width), atol=1e-5, rtol=0)
    assert float((states.std(0, correction=0) - 1).abs().median()) < 1e-4
    before = conditions_of(raw, prompts(raw))
    assert ours.condition_statistics is not None
    torch.testing.assert_close(ours.condition_statistics.restore(states), before, atol=1e-4, rtol=1e-4)
    standardise_conditions(ours, prompts(ours))
    torch.testing.assert_close(conditions_of(ours, prompts(ours)), states)  # measured of raw states again


@torch.no_grad()
def test_states_that_do_not_depend_on_the_prompt_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the same for all prompts.*backbone\.standardise=false"):
        standardise_conditions(nano(standardise=True), prompts(nano())[:1] * 4)


def test_statistics_travel_with_the_weights() -> None:
    ours, other = nano(standardise=True), nano(standardise=True)
    standardise_conditions(ours, prompts(ours))
    other.load_state_dict(ours.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(conditions_of(other, prompts(other)), conditions_of(ours, prompts(ours)))


@pytest.mark.parametrize("layer", [-1, -2, -3])
@torch.no_grad()
def test_a_layers_states_are_the_librarys(layer: int) -> None:
    backbone = nano(layer=layer)
    model: Any = backbone.model
    row = prompts(backbone)[1]
    embedded = torch.cat([backbone.embeddings(torch.tensor(row)), backbone.queries])[None]
    expected = model.base_model(inputs_embeds=embedded, output_hidden_states=True).hidden_states[layer][:, -3:]
    torch.testing.assert_close(conditions_of(backbone, [row]), expected, atol=1e-4, rtol=1e-4)
    for parameter in backbone.core_parameters():
        parameter.requires_grad_(False)
    padded = conditions_of(backbone, prompts(backbone))[1:2]
    torch.testing.assert_close(padded, expected, atol=1e-4, rtol=1e-4)


def test_a_layer_that_is_not_there_is_refused() -> None:
    nano(layer=-5)
    with pytest.raises(ValueError, match=r"backbone\.layer=-6, but the model has 5 layers of states: choose -1 to -5"):
        nano(layer=-6)


def test_random_weights_depend_on_the_seed_alone_and_understand_nothing() -> None:
    first, again, other, trained = (
        nano(weights="random"),
        nano("language", weights="random"),
        nano(seed=1, weights="random"),
        nano(),
    )
    assert weights_hash(first) == weights_hash(again) != weights_hash(other)
    shapes = [{name: value.shape for name, value in each.state_dict().items()} for each in (first, trained)]
    assert shapes[0] == shapes[1] and weights_hash(first) != weights_hash(trained)
    assert trained.understands("understanding") and not first.understands("understanding")


@pytest.mark.parametrize("source", ["llama"])
@torch.no_grad()
def test_a_pretrained_models_layer_scale_and_random_weights(build: Build, source: str) -> None:
    trained = build(source, "pretrained_lm", layer=-2, standardise=True)
    first, again, other = (build(source, "pretrained_lm", seed=s, weights="random") for s in (0, 0, 1))
    assert weights_hash(first.model) == weights_hash(again.model) != weights_hash(other.model)
    assert weights_hash(first.model) != weights_hash(trained.model)
    assert not any(p.requires_grad for p in first.model.parameters())
    standardise_conditions(trained, prompts(trained))
    states = conditions_of(trained, prompts(trained))
    torch.testing.assert_close(states.mean(0), torch.zeros_like(states[0]), atol=1e-4, rtol=0)


def test_an_arm_measures_its_own_captions_and_only_if_it_is_asked_to() -> None:
    asked = ["profile=tiny", "backbone.standardise=true", "data.long_caption_share=1"]
    config = load(ROOT / "ablations/clip_fm.yaml", asked)
    arm = assemble(config)
    source = Scenes(training_scenes(FOUNDATION.world, 64, 64))
    read = training_prompts(config, arm.backbone, source)
    assert len(read) == 64 and min(map(len, read)) > 20, "all captions are long ones"
    with torch.no_grad():
        states = conditions_of(arm.backbone, read)
    torch.testing.assert_close(states.mean(0), torch.zeros_like(states[0]), atol=1e-4, rtol=0)
    plain: Any = assemble(load(ROOT / "ablations/clip_fm.yaml", ["profile=tiny"])).backbone
    assert plain.condition_statistics is None


def test_the_second_edition_standardises_and_the_papers_settings_do_not() -> None:
    arm = ROOT / "ablations/clip_fm.yaml"
    read = [load(arm, [f"profile={profile}"]).backbone.config for profile in ("nano", "nano-2")]
    published = load(arm, ["profile=nano-2", "settings=published"]).backbone.config
    assert [each.standardise for each in (*read, published)] == [False, True, False]
