"""Components that break a promise are refused with their name and the mend, where it is first seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import wrong_components as wrong

from unimm.arm import Arm, assemble
from unimm.backbones.pretrained import ModelOutline
from unimm.config import ConfigError, load
from unimm.data.cache import cached_latents
from unimm.data.latents import Encoded
from unimm.data.scenes import training_scenes
from unimm.noise import NoiseSource
from unimm.pipeline import Pipeline
from unimm.planning.outline import outline
from unimm.registry import backbones, heads, objectives, strategies
from unimm.runs import stages
from unimm.schema import RunConfig
from unimm.seam_checks import check_backbone, check_images, check_latents, check_loss, checked_spec
from unimm.training.module import ArmModule
from unimm.training.step_data import step_data

ARM = Path(__file__).parents[1] / "ablations" / "vae_fm.yaml"
CPU = torch.device("cpu")


def test_a_backbone_has_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "_targets", dict(backbones._targets))
    with pytest.raises(ValueError, match=r"'mine' must be a subclass of unimm\.components\.Backbone"):
        backbones.register("mine", wrong.AnyModule)  # type: ignore[arg-type]
    lacks = "lacks build, core_parameters, forward, image_encoder, restore, width: define them"
    with pytest.raises(ValueError, match=lacks):
        backbones.register("mine", wrong.Headless)
    with pytest.raises(ConfigError, match=lacks):
        load(ARM, ["profile=tiny", "backbone=wrong_components:Headless"])
    backbones.register("mine", wrong.Wordless)
    with pytest.raises(ValueError, match=r"wrong_components\.Wordless has no tokenizer, queries: set them in __init__"):
        check_backbone(wrong.Wordless(wrong.Nothing()))


@pytest.mark.parametrize("name", ["TwoStages", "TwoStagesAfterAll"])
def test_a_strategy_with_two_stages_is_refused_instead_of_training_the_first(name: str) -> None:
    with pytest.raises(ConfigError, match=r"define mix\(\); a strategy that needs stretches says so with `stages:`"):
        load(ARM, ["profile=tiny", f"strategy=wrong_components:{name}"])


def test_class_variables_without_a_value_are_missing_members() -> None:
    with pytest.raises(ValueError, match="'wrong_components:Undecided' lacks deterministic: define it"):
        objectives.get("wrong_components:Undecided")


@pytest.mark.parametrize("strategy", strategies.names())
def test_every_strategy_has_one_mix(strategy: str) -> None:
    cls: Any = strategies.get(strategy)
    mix = cls(cls.Config()).mix()
    assert mix.generation_weight > 0
    assert bool(mix.understanding_weight) == (strategy in {"joint", "replay", "understanding_only"})


def test_whether_a_head_sees_noise_is_said_by_its_class() -> None:
    seeing = {name for name in heads.names() if heads.get(name).sees_noise}
    assert seeing == {"dit", "per_token", "unet"}
    with pytest.raises(ValueError, match="head=linear sees neither noise nor time, so objective=flow_matching cannot"):
        assemble(load(ARM, ["profile=tiny", "head=linear", "backbone.queries=16"]))


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunConfig, Arm]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIMM_CACHE", str(tmp_path_factory.mktemp("cache")))
        choice = ["encoder=wrong_components:Grid", "objective=wrong_components:LossByItem"]
        config = load(ARM, ["profile=tiny", "training.samples=32", *choice])
        yield config, assemble(config)


def test_latents_are_held_against_their_spec(grid: tuple[RunConfig, Arm]) -> None:
    _, arm = grid
    wanted = r"Mislabelled\.encode gives latents of shape \[64, 16, 768\].* promises \[64, 16, 99\]"
    scenes = training_scenes(arm.foundation.world, 64, arm.foundation.resolution)
    with pytest.raises(ValueError, match=wanted):
        cached_latents(wrong.Mislabelled(), scenes, CPU)
    at_every_step = Encoded(wrong.Mislabelled(), scenes, CPU)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"promises \[2, 16, 99\]"):
        at_every_step.finish([torch.zeros(3, 64, 64, dtype=torch.uint8)] * 2, ["a", "b"])
    with pytest.raises(ValueError, match=r"OffGrid.*16 tokens on a grid of 4 x 3"):
        checked_spec(wrong.OffGrid())
    check_latents(arm.encoder, checked_spec(arm.encoder), torch.zeros(2, 16, 768), 2)


def test_a_loss_has_to_be_one_number(grid: tuple[RunConfig, Arm]) -> None:
    config, arm = grid
    data = step_data(config, arm, CPU)
    module = ArmModule(arm.backbone, arm.head, arm.objective, arm.strategy.mix(), config.training, data)
    with pytest.raises(ValueError, match=r"LossByItem\.loss gives a tensor of shape \[16\]: it has to be a scalar"):
        module.losses(0)
    with pytest.raises(ValueError, match=r"LossByItem\.loss gives a float"):
        check_loss(arm.objective, 0.5)  # type: ignore[arg-type]


def test_decoded_images_have_to_lie_between_0_and_1(grid: tuple[RunConfig, Arm]) -> None:
    _, arm = grid
    noise = NoiseSource(0, "test")
    prompts = ["a red circle"]
    with pytest.raises(ValueError, match=r"Scaled\.decode gives values from .* to .*: images are in \[0, 1\]"):
        arm.pipeline()(prompts, ["0"], noise)
    honest = Pipeline(arm.backbone, arm.head, arm.objective, wrong.Scaled(1.0), arm.encoder.latent_spec())
    assert honest(prompts, ["0"], noise).shape == (1, 3, 64, 64)
    with pytest.raises(ValueError, match=r"images of shape \[2, 64, 64, 3\] for 2 latents: it has to be \[2, 3, side"):
        check_images(arm.decoder, torch.zeros(2, 64, 64, 3), 2)
    with pytest.raises(ValueError, match=r"decode gives values that are no numbers \(NaN\)"):
        check_images(arm.decoder, torch.full((2, 3, 64, 64), float("nan")), 2)


def test_samples_do_not_depend_on_how_many_the_objective_gets_at_once(
    grid: tuple[RunConfig, Arm], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, arm = grid
    asked = (["a red circle", "two blue squares", "a cross"], ["0", "1", "2"], NoiseSource(0, "test"))
    whole = arm.pipeline().latents(*asked)
    monkeypatch.setattr("unimm.pipeline.SAMPLED_ON_CPU", 2)
    torch.testing.assert_close(arm.pipeline().latents(*asked), whole)


def test_a_head_has_to_predict_latents_and_not_what_a_loss_spreads_over_them(tmp_path: Path) -> None:
    config = load(ARM, ["profile=tiny", "head=wrong_components:Spreading"])
    message = r"Spreading predicts a tensor of shape \[1, 1, \d+\] for latents of \[1, 16, \d+\]"
    with pytest.raises(ValueError, match=message):
        stages.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists(), "found before the folder is claimed"


def test_a_sampler_has_to_give_latents() -> None:
    arm = assemble(load(ARM, ["profile=tiny", "objective=wrong_components:SamplesFlat"]))
    with pytest.raises(ValueError, match=r"SamplesFlat\.sample gives latents of shape \[2, 16\] for 2 prompts"):
        arm.pipeline()(["a red circle", "a blue square"], ["0", "1"], NoiseSource(0, "test"))


def test_a_strategy_has_to_start_where_a_foundation_has_a_backbone() -> None:
    with pytest.raises(ValueError, match=r"StartsElsewhere\.start is 'reasoning': it has to be one of language"):
        assemble(load(ARM, ["profile=tiny", "strategy=wrong_components:StartsElsewhere"]))


def test_a_plan_counts_the_queries_of_a_backbone_whose_settings_do_not_name_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = load(ARM, ["profile=tiny", "backbone=wrong_components:FixedQueries"])
    assert outline(config).queries == 5
    monkeypatch.setattr(
        wrong.FixedQueries, "on_meta", lambda config: ModelOutline(torch.nn.Linear(1, 1), 8), raising=False
    )
    with pytest.raises(ValueError, match=r"FixedQueries has on_meta, and its Config no `queries`"):
        outline(config)
