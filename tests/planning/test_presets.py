"""Presets are ordinary arm files with their sources, and say what the papers say."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from unimm.cli import app
from unimm.config import load
from unimm.planning.cli import PRESETS
from unimm.schema import RunConfig

FILES = sorted(PRESETS.glob("*.yaml"))
AT_448 = {"paper_ablation", "blip3o_4b", "blip3o_8b", "emu2_like", "seedx_like"}
OF_2026 = {"raev2_like", "diffusionbench_like", "scale_rae_like", "blip3o_next_like"}
NAMES = AT_448 | OF_2026 | {"metaquery_like"}


def preset(name: str) -> RunConfig:
    return load(PRESETS / f"{name}.yaml")


def test_check_accepts_every_preset() -> None:
    result = CliRunner().invoke(app, ["check", *map(str, FILES)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("ok ") == len(NAMES)
    assert {file.stem for file in FILES} == NAMES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_headers_name_question_source_cost_and_differences(file: Path) -> None:
    header = "".join(line for line in file.read_text().splitlines(keepends=True) if line.startswith("#"))
    config = load(file)
    assert config.name == file.stem
    for entry in (f"# Question: {config.question}", "# Source: ", "# Cost: ", "# Known differences:"):
        assert entry in header
    assert "arXiv" in header
    assert f"unimm plan {file.stem}" in header


@pytest.mark.parametrize("name", ["paper_ablation", "blip3o_4b", "blip3o_8b"])
def test_blip3o_trains_on_raw_features_with_uniform_times_and_no_shift(name: str) -> None:
    config = preset(name)
    objective = config.objective.config.model_dump()
    assert (config.encoder.name, config.encoder.config.model_dump()["standardise"]) == ("open_clip", False)
    assert (objective["time_sampling"], objective["shift"], objective["condition_dropout"]) == ("uniform", 1.0, 0.1)
    assert (objective["steps"], objective["guidance"]) == (30, 3.0)
    assert config.data.long_caption_share == 0.9
    assert config.strategy.name == "sequential"
    assert config.training.batch_size == 512
    assert (config.training.weight_decay, config.training.ema_decay) == (0, 0)


def test_the_metaquery_arm_differs_from_blip3o_in_target_and_noise_only() -> None:
    mine, other = (preset(name).model_dump(mode="json") for name in ("metaquery_like", "blip3o_4b"))
    differing = {key for key in mine if mine[key] != other[key]}
    assert differing == {"name", "question", "settings", "encoder", "objective", "source"}
    sides = [entry["source"].pop("resolution") for entry in (mine, other)]
    assert (sides, mine["source"]) == ([512, 448], other["source"])


@pytest.mark.parametrize("name", sorted(AT_448))
def test_towers_see_images_of_their_own_side(name: str) -> None:
    config = preset(name)
    assert config.source.config.model_dump()["resolution"] == config.encoder.config.model_dump()["resolution"] == 448


def test_regression_arms_have_no_diffusion_head() -> None:
    for name in ("emu2_like", "seedx_like"):
        config = preset(name)
        assert (config.head.name, config.objective.name, config.strategy.name) == ("linear", "mse", "joint")
        assert config.backbone.config.model_dump()["queries"] == config.encoder.config.model_dump()["grid"] ** 2
    cosine = load(PRESETS / "seedx_like.yaml", ["objective=cosine", "objective.rms=2.0"])
    assert cosine.objective.config.model_dump() == {"rms": 2.0}
    weights = preset("seedx_like").strategy.config.model_dump()
    assert (weights["generation_weight"], weights["understanding_weight"]) == (6.0, 1.0)


@pytest.mark.parametrize(
    ("name", "side", "steps"), [("raev2_like", 256, 200_000), ("diffusionbench_like", 256, 100_000)]
)
def test_the_arms_of_2026_train_as_long_as_published(name: str, side: int, steps: int) -> None:
    config = preset(name)
    objective = config.objective.config.model_dump()
    assert config.training.steps == steps
    assert (objective["time_mean"], objective["time_std"], objective["shift"]) == (0.0, 1.0, None)
    assert (objective["steps"], objective["guidance"]) == (50, 6.0)
    assert config.source.config.model_dump()["resolution"] == 256
    assert config.encoder.config.model_dump()["normed"]


def test_raev2_predicts_the_data_and_sums_every_second_of_the_last_thirteen_blocks() -> None:
    assert preset("raev2_like").objective.name == "x_prediction"
    config = preset("raev2_like").encoder.config
    assert sorted(24 + number for number in config.blocks(-1)) == [11, 13, 15, 17, 19, 21, 23]  # type: ignore[attr-defined]


def test_scale_rae_weighs_the_image_twice_and_next_trains_its_language_model() -> None:
    weights = preset("scale_rae_like").strategy.config.model_dump()
    assert (weights["generation_weight"], weights["understanding_weight"]) == (2.0, 1.0)
    assert preset("blip3o_next_like").strategy.name == "sequential_unfrozen"
